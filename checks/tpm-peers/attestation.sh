# What the TPM attests to, each statement verified by OpenSSL.
. "$(dirname "$0")/expect.sh"

nonce=00112233445566778899
tpm2_createek -c 0x81010001 -G rsa -u ek.pub
same "the endorsement key's policy" "$(tpm2_readpublic -c 0x81010001 | awk '/authorization policy/ { print $3 }')" \
  837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa
tpm2_createak -Q -C 0x81010001 -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pem -f pem -n ak.name
printf %s "a secret for this key" >secret
tpm2_makecredential -Q -T none -u ek.pub -s secret -n "$(hex ak.name)" -o credential
endorsed() { # a session by the endorsement key's policy
  tpm2_startauthsession --policy-session -S endorsed.ctx
  tpm2_policysecret -Q -S endorsed.ctx -c e
}
endorsed
tpm2_activatecredential -Q -c ak.ctx -C 0x81010001 -i credential -o found -P session:endorsed.ctx
tpm2_flushcontext endorsed.ctx
cmp secret found
tpm2_makecredential -Q -T none -u ek.pub -s secret -n "000b$zeros" -o credential
endorsed
refused 0x1DF tpm2_activatecredential -Q -c ak.ctx -C 0x81010001 -i credential -o found -P session:endorsed.ctx # TPM_RC_INTEGRITY
tpm2_flushcontext endorsed.ctx

# `statement` is signed by the key, has this type and says this.
states() { # TYPE TEXT
  openssl dgst -sha256 -verify ak.pem -signature signature statement
  same "type" "$(hex statement | cut -c 1-12)" "ff544347$1"
  hex statement | says "$2"
}
signer=(-g sha256 -f plain)

tpm2_pcrextend 16:sha256=$zeros
tpm2_quote -Q -c ak.ctx -l sha256:0,16 -q $nonce -m statement -s quoted -o pcrs -g sha256
tpm2_checkquote -u ak.pem -m statement -s quoted -f pcrs -q $nonce -g sha256 >/dev/null
refused 'nonce|extraData|qualif' tpm2_checkquote -u ak.pem -m statement -s quoted -f pcrs -q ffff -g sha256
tpm2_quote -Q -c ak.ctx -l sha256:0,16 -q $nonce -m statement -s signature "${signer[@]}"
states 8018 "$(sha256_of "$zeros" "$(sha256_of "$zeros" "$zeros")")"
states 8018 000a$nonce
tpm2_print -t TPMS_ATTEST statement | says "extraData: $nonce"

tpm2_createprimary -Q -C o -G ecc -c primary.ctx --creation-data creation --creation-hash creation.hash -t creation.ticket
name=$(tpm2_readpublic -c primary.ctx | field name)
same "hash of the creation data" "$(hex creation.hash)" "0020$(sha256_of "$(hex creation | cut -c 5-)")"
tpm2_certify -Q -c primary.ctx -C ak.ctx -o statement -s signature "${signer[@]}"
states 8017 "0022$name"
tpm2_certifycreation -Q -C ak.ctx -c primary.ctx -d creation.hash -t creation.ticket -o signature --attestation statement -q $nonce "${signer[@]}"
states 801a "0022$name$(hex creation.hash)"
tpm2_nvdefine -Q 0x1500020 -C o -s 12 -a 'ownerread|ownerwrite'
printf 'twelve bytes' | tpm2_nvwrite 0x1500020 -C o -i -
tpm2_nvcertify -Q -C ak.ctx -c o --size 12 -o signature --attestation statement -q $nonce "${signer[@]}" 0x1500020
states 8014 "0000000c$(printf 'twelve bytes' | xxd -p)"
tpm2_gettime -Q -c ak.ctx -q $nonce -o signature --attestation statement "${signer[@]}"
states 8019 000a$nonce

tpm2_startauthsession --hmac-session -S audited.ctx
tpm2_sessionconfig audited.ctx --enable-audit
tpm2_sessionconfig audited.ctx | says -i 'audit'
tpm2_getrandom -S audited.ctx -o random 8
tpm2_getsessionauditdigest -c ak.ctx -S audited.ctx -m statement -s signature -q $nonce "${signer[@]}"
tpm2_flushcontext audited.ctx
states 8016 "$(sha256_of "$zeros" "$(sha256_of 0000017b 0008)" "$(sha256_of 00000000 0000017b 0008 "$(hex random)")")"

tpm2_certifyX509certutil -o partial -d 3 -s 'C=DE;O=Subject;CN=subject' -i 'C=DE;O=Issuer;CN=issuer'
openssl asn1parse -inform DER -in partial | says ':subject$'

# A certificate of the endorsement key, where the TCG's credential profile wants it.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 1 -subj /CN=ca 2>/dev/null
openssl x509 -in ca.pem -outform DER -out certificate
tpm2_nvdefine -Q 0x1c00002 -C p -s "$(stat -c %s certificate)" -a 'ppwrite|ppread|ownerread|authread|no_da|platformcreate'
tpm2_nvwrite 0x1c00002 -C p -i certificate
tpm2_getekcertificate -o found
cmp certificate found
