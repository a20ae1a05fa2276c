# Every assertion of a policy: the digest it makes, and a use that it allows or refuses.
. "$(dirname "$0")/expect.sh"

# The digest is extended by a command code and its arguments.
extended() { sha256_of "$@"; }
size16() { printf %04x $(($(printf %s "$1" | wc -c) / 2)); }
trial() { # EXPECTED TOOL OPTIONS
  local expected=$1 tool=$2
  shift 2
  tpm2_startauthsession -S trial.ctx
  "$tool" -S trial.ctx -L digest "$@" >/dev/null
  same "digest of $tool" "$(hex digest)" "$expected"
  same "the session's digest" "$(tpm2_getpolicydigest -S trial.ctx --hex)" "$expected"
  tpm2_flushcontext trial.ctx
}

tpm2_createprimary -Q -C o -G ecc -c parent.ctx
parent=$(tpm2_readpublic -c parent.ctx | field name)
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out outside.pem 2>/dev/null
openssl pkey -in outside.pem -pubout -out outside.pub
tpm2_loadexternal -Q -C o -G ecc -u outside.pub -c outside.ctx -n outside.name
outside=$(hex outside.name)

password=$(extended "$zeros" 0000016b)
trial "$password" tpm2_policypassword
trial "$password" tpm2_policyauthvalue
unseal=$(extended "$zeros" 0000016c 0000015e)
trial "$unseal" tpm2_policycommandcode TPM2_CC_Unseal
trial "$(extended "$zeros" 0000016f 08)" tpm2_policylocality three
trial "$(extended "$zeros" 0000018f 01)" tpm2_policynvwritten s
trial "$(extended "$(extended "$zeros" 00000151 40000001)")" tpm2_policysecret -c o
trial "$(extended "$(extended "$zeros" 00000151 40000001)" 6162)" tpm2_policysecret -c o -q 6162
some=$(sha256_of 736f6d65)
printf 0020%s "$some" | xxd -r -p >sized # TPM2B_DIGEST
printf %s "$some" | xxd -r -p >hash
trial "$(extended "$zeros" 0000016e "$some")" tpm2_policycphash --cphash-input sized
trial "$(extended "$zeros" 00000170 "$some")" tpm2_policynamehash -n hash
trial "$(extended "$zeros" 00000190 "$some")" tpm2_policytemplate --template-hash hash
printf %s "$parent" | xxd -r -p >parent.name
trial "$(extended "$zeros" 00000188 "$parent" 00)" tpm2_policyduplicationselect -N parent.name
trial "$(extended "$zeros" 00000188 "$outside" "$parent" 01)" tpm2_policyduplicationselect -N parent.name -n outside.name --include-object
trial "$(extended "$zeros" 0000016d "$(sha256_of ffffffffffffffff 0008 0005)")" tpm2_policycountertimer --ult clock=18446744073709551615

selection=00000001000b03000001
registers=$(extended "$zeros" 0000017f $selection "$(sha256_of "$zeros")")
trial "$registers" tpm2_policypcr -l sha256:16
tpm2_createpolicy -Q --policy-pcr -l sha256:16 -L digest
same "digest of tpm2_createpolicy" "$(hex digest)" "$registers"
printf %s "$registers" | xxd -r -p >registers
printf %s "$unseal" | xxd -r -p >unseal

seal() { # POLICY NAME
  printf %s "$2" | tpm2_create -Q -C parent.ctx -i - -L "$1" -u sealed.pub -r sealed.priv "${@:3}"
  tpm2_load -Q -C parent.ctx -u sealed.pub -r sealed.priv -c sealed.ctx
}
session() {
  tpm2_flushcontext session.ctx 2>/dev/null || true
  tpm2_startauthsession --policy-session -S session.ctx
}
opens() { same "unsealed" "$(tpm2_unseal -c sealed.ctx -p "session:session.ctx${2:-}")" "$1"; }
closed() { refused "$1" tpm2_unseal -c sealed.ctx -p session:session.ctx; }
policy_fail=0x99D

seal registers "by registers"
session
tpm2_policypcr -Q -S session.ctx -l sha256:16
opens "by registers"
session
tpm2_policypcr -Q -S session.ctx -l sha256:16
tpm2_pcrextend 8:sha256=$zeros
closed 0x128 # TPM_RC_PCR_CHANGED
session
closed $policy_fail
tpm2_pcrextend 16:sha256=$zeros
session
tpm2_policypcr -Q -S session.ctx -l sha256:16
closed $policy_fail
tpm2_pcrreset 16

# Either of two, after a restart of the session.
tpm2_startauthsession -S trial.ctx
tpm2_policyor -Q -S trial.ctx -L either -l sha256:registers,unseal
tpm2_flushcontext trial.ctx
same "digest of tpm2_policyor" "$(hex either)" "$(extended "$zeros" 00000171 "$registers" "$unseal")"
seal either "by one of two"
session
tpm2_policycommandcode -Q -S session.ctx TPM2_CC_NV_Read
refused 0x1C4 tpm2_policyor -Q -S session.ctx -l sha256:registers,unseal # TPM_RC_VALUE
tpm2_policyrestart -S session.ctx
tpm2_policycommandcode -Q -S session.ctx TPM2_CC_Unseal
tpm2_policyor -Q -S session.ctx -l sha256:registers,unseal
opens "by one of two"

printf %s "$password" | xxd -r -p >password
seal password "by password" -p word
session
tpm2_policypassword -Q -S session.ctx
opens "by password" +word
session
tpm2_policyauthvalue -Q -S session.ctx
opens "by password" +word
session
tpm2_policyauthvalue -Q -S session.ctx
refused 0x98E tpm2_unseal -c sealed.ctx -p session:session.ctx+wrong

# Signed by a key outside, and by the ticket of such a signature.
tpm2_startauthsession -S trial.ctx
printf '\0\0\0\0' >unlimited
openssl dgst -sha256 -sign outside.pem -out signature unlimited
tpm2_policysigned -Q -S trial.ctx -g sha256 -s signature -f ecdsa -c outside.ctx -L signed
tpm2_flushcontext trial.ctx
same "digest of tpm2_policysigned" "$(hex signed)" "$(extended "$(extended "$zeros" 00000160 "$outside")")"
seal signed "by signature"
session
tpm2_policysigned -Q -S session.ctx -g sha256 -s signature -f ecdsa -c outside.ctx
opens "by signature"
session
openssl dgst -sha256 -sign outside.pem -out other registers
refused 0x[0-9A-F]*DB tpm2_policysigned -Q -S session.ctx -g sha256 -s other -f ecdsa -c outside.ctx
session
tpm2_policysigned -Q -S session.ctx -c outside.ctx -x -t -3600 --raw-data signed.data
openssl dgst -sha256 -sign outside.pem -out signature signed.data
tpm2_policysigned -Q -S session.ctx -g sha256 -s signature -f ecdsa -c outside.ctx -x -t -3600 --ticket ticket --timeout timeout
opens "by signature"
session
tpm2_policyticket -Q -S session.ctx -n outside.name --ticket ticket --timeout timeout
opens "by signature"

# Approved by a key: whatever policy it signs.
tpm2_startauthsession -S trial.ctx
tpm2_policyauthorize -Q -S trial.ctx -L approved -n outside.name -i registers
tpm2_flushcontext trial.ctx
same "digest of tpm2_policyauthorize" "$(hex approved)" "$(extended "$(extended "$zeros" 0000016a "$outside")")"
seal approved "by approval"
openssl dgst -sha256 -sign outside.pem -out signature registers
tpm2_verifysignature -Q -c outside.ctx -g sha256 -f ecdsa -m registers -s signature -t ticket
session
tpm2_policypcr -Q -S session.ctx -l sha256:16
tpm2_policyauthorize -Q -S session.ctx -i registers -n outside.name -t ticket
opens "by approval"

# By what an NV index holds, and by the policy that it holds.
tpm2_nvdefine -Q 0x1500030 -C o -s 8 -a 'ownerread|ownerwrite|policywrite|policyread'
printf '\0\0\0\0\0\0\0\007' | tpm2_nvwrite 0x1500030 -C o -i -
index=$(tpm2_nvreadpublic 0x1500030 | field name)
printf '\0\0\0\0\0\0\0\005' >five
trial "$(extended "$zeros" 00000149 "$(sha256_of 0000000000000005 0000 0003)" "$index")" tpm2_policynv -C o -i five 0x1500030 ugt
session
refused 0x126 tpm2_policynv -Q -S session.ctx -C o -i five 0x1500030 ult # TPM_RC_POLICY
tpm2_nvdefine -Q 0x1500031 -C o -s 34 -a 'ownerread|ownerwrite'
{ printf '\0\013' && cat registers; } | tpm2_nvwrite 0x1500031 -C o -i -
index=$(tpm2_nvreadpublic 0x1500031 | field name)
trial "$(extended "$zeros" 00000192 "$index")" tpm2_policyauthorizenv -C o 0x1500031
cp digest stored
seal stored "by a stored policy"
session
tpm2_policypcr -Q -S session.ctx -l sha256:16
tpm2_policyauthorizenv -Q -S session.ctx -C o 0x1500031
opens "by a stored policy"

# A key that may be moved to one parent only.
tpm2_createprimary -Q -C n -G ecc -c next.ctx
tpm2_readpublic -Q -c next.ctx -n next.name -o next.pub
tpm2_startauthsession -S trial.ctx
tpm2_policyduplicationselect -Q -S trial.ctx -N next.name -L moving
tpm2_flushcontext trial.ctx
tpm2_create -Q -C parent.ctx -G ecc256:ecdsa -L moving -a 'sensitivedataorigin|userwithauth|sign' -u moved.pub -r moved.priv
tpm2_load -Q -C parent.ctx -u moved.pub -r moved.priv -c moved.ctx -n moved.name
session
tpm2_policyduplicationselect -Q -S session.ctx -N parent.name -n moved.name
refused $policy_fail tpm2_duplicate -Q -C next.ctx -c moved.ctx -G null -p session:session.ctx -r out.priv -s seed
session
tpm2_policyduplicationselect -Q -S session.ctx -N next.name -n moved.name
tpm2_duplicate -Q -C next.ctx -c moved.ctx -G null -p session:session.ctx -r out.priv -s seed
tpm2_import -Q -C next.ctx -u moved.pub -i out.priv -r in.priv -s seed
tpm2_load -Q -C next.ctx -u moved.pub -r in.priv -c in.ctx -n in.name
cmp moved.name in.name
tpm2_flushcontext session.ctx
