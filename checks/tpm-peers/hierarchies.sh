# Hierarchies: their passwords and seeds, dictionary attack, audit of commands.
. "$(dirname "$0")/expect.sh"

primary() { tpm2_createprimary -C "$1" -G ecc -c primary.ctx "${@:2}" >/dev/null && tpm2_readpublic -c primary.ctx | field name; }
owner=$(primary o)
same "an owner key made again" "$(primary o)" "$owner"
endorsement=$(primary e)
platform=$(primary p)
differs "another hierarchy's key" "$endorsement" "$owner"

tpm2_changeauth -c o ownerpass
refused 0x9A2 tpm2_createprimary -C o -c primary.ctx
same "an owner key by password" "$(primary o -P ownerpass)" "$owner"
tpm2_changeauth -c o -p ownerpass
tpm2_changeeps
differs "an endorsement key of the next seed" "$(primary e)" "$endorsement"
tpm2_changepps
differs "a platform key of the next seed" "$(primary p)" "$platform"

tpm2_createprimary -C o -G ecc -c primary.ctx >/dev/null
tpm2_evictcontrol -C o -c primary.ctx 0x81000010 >/dev/null
tpm2_clearcontrol -C l s
refused 0x120 tpm2_clear # TPM_RC_DISABLED
tpm2_clearcontrol -C p c
tpm2_clear
same "persistent objects after TPM2_Clear" "$(tpm2_getcap handles-persistent | wc -l)" 0
differs "an owner key after TPM2_Clear" "$(primary o)" "$owner"

tpm2_hierarchycontrol -C p ehEnable clear
refused 0x[0-9A-F]*85 tpm2_createprimary -C e -c primary.ctx # TPM_RC_HIERARCHY
tpm2_getcap properties-variable | says 'ehEnable: *0'
tpm2_hierarchycontrol -C p ehEnable set
tpm2_createprimary -C e -G ecc -c primary.ctx >/dev/null

tpm2_dictionarylockout -s -n 2 -t 1000 -l 1000
tpm2_getcap properties-variable >properties
same "tries" "$(field TPM2_PT_MAX_AUTH_FAIL <properties)" 0x2
tpm2_create -Q -C primary.ctx -i - -p right -u sealed.pub -r sealed.priv <<<secret
tpm2_load -C primary.ctx -u sealed.pub -r sealed.priv -c sealed.ctx >/dev/null
refused 0x98E tpm2_unseal -c sealed.ctx -p wrong
refused '0x98E|0x921' tpm2_unseal -c sealed.ctx -p wrong
refused 0x921 tpm2_unseal -c sealed.ctx -p right # TPM_RC_LOCKOUT
tpm2_dictionarylockout -c
same "after the lockout" "$(tpm2_unseal -c sealed.ctx -p right)" secret

# The audit digest is extended by cpHash and rpHash of each audited command; the one that sets the list is always audited.
audited() { sha256_of "$1" "$(sha256_of "$2")" "$(sha256_of "$3")"; } # DIGEST COMMAND RESPONSE
tpm2_create -Q -C primary.ctx -G ecc256:ecdsa -u signer.pub -r signer.priv
tpm2_load -C primary.ctx -u signer.pub -r signer.priv -c signer.ctx >/dev/null
tpm2_readpublic -c signer.ctx -f pem -o signer.pem >/dev/null
tpm2_setcommandauditstatus TPM2_CC_GetRandom
tpm2_getrandom -o random 8
tpm2_getcommandauditdigest -c signer.ctx -g sha256 -m message -s signature -f plain -q 616263
openssl dgst -sha256 -verify signer.pem -signature signature message
same "TPM_GENERATED and TPM_ST_ATTEST_COMMAND_AUDIT" "$(hex message | cut -c 1-12)" ff5443478015
digest=$(audited "$zeros" 0000014040000001000b000000010000017b00000000 0000000000000140)
digest=$(audited "$digest" 0000017b0008 "000000000000017b0008$(hex random)")
hex message | says "000b0020$digest"
tpm2_setcommandauditstatus -c TPM2_CC_GetRandom

# A policy instead of a password.
tpm2_startauthsession -S trial.ctx
tpm2_policycommandcode -S trial.ctx -L policy TPM2_CC_CreatePrimary >/dev/null
tpm2_flushcontext trial.ctx
tpm2_setprimarypolicy -C o -L policy -g sha256
tpm2_changeauth -c o ownerpass
tpm2_startauthsession --policy-session -S session.ctx
tpm2_policycommandcode -S session.ctx TPM2_CC_CreatePrimary >/dev/null
tpm2_createprimary -C o -P session:session.ctx -G ecc -c primary.ctx >/dev/null
tpm2_flushcontext session.ctx
