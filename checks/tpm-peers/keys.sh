# Keys: made, loaded, used in both directions beside OpenSSL, moved, kept.
. "$(dirname "$0")/expect.sh"

printf 'what is signed and encrypted' >data
tpm2_createprimary -C o -G ecc -c parent.ctx >/dev/null
new_key() { # NAME ALGORITHM [OPTIONS]
  tpm2_create -Q -C parent.ctx -G "$2" -u "$1.pub" -r "$1.priv" "${@:3}"
  tpm2_load -Q -C parent.ctx -u "$1.pub" -r "$1.priv" -c "$1.ctx"
}
public_pem() { tpm2_readpublic -Q -c "$1.ctx" -f pem -o "$1.pem"; }

new_key rsa rsa2048
public_pem rsa
same "name" "$(tpm2_readpublic -c rsa.ctx | field name)" "000b$(sha256_of "$(hex rsa.pub | cut -c 5-)")"
for padding in rsaes oaep; do
  tpm2_rsaencrypt -c rsa.ctx -s $padding -o cipher data
  tpm2_rsadecrypt -c rsa.ctx -s $padding -o plain cipher
  cmp data plain
done
openssl pkeyutl -encrypt -pubin -inkey rsa.pem -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -in data -out cipher
tpm2_rsadecrypt -c rsa.ctx -s oaep -o plain cipher
cmp data plain
openssl pkeyutl -encrypt -pubin -inkey rsa.pem -in data -out cipher
tpm2_rsadecrypt -c rsa.ctx -s rsaes -o plain cipher
cmp data plain
tpm2_sign -Q -c rsa.ctx -g sha256 -s rsassa -f plain -o signature data
openssl dgst -sha256 -verify rsa.pem -signature signature data
tpm2_sign -Q -c rsa.ctx -g sha384 -s rsapss -f plain -o signature data
openssl dgst -sha384 -verify rsa.pem -sigopt rsa_padding_mode:pss -signature signature data

new_key ecc ecc256:ecdsa
public_pem ecc
tpm2_sign -Q -c ecc.ctx -g sha256 -f plain -o signature data
openssl dgst -sha256 -verify ecc.pem -signature signature data
for algorithm in RSA:2048:rsa:rsassa EC:P-256:ecc:ecdsa; do
  IFS=: read -r kind size type scheme <<<"$algorithm"
  case $kind in RSA) option=rsa_keygen_bits ;; *) option=ec_paramgen_curve ;; esac
  openssl genpkey -algorithm "$kind" -pkeyopt "$option:$size" -out outside.pem 2>/dev/null
  openssl pkey -in outside.pem -pubout -out outside.pub
  openssl dgst -sha256 -sign outside.pem -out signature data
  tpm2_loadexternal -Q -C o -G "$type" -u outside.pub -c outside.ctx
  tpm2_verifysignature -Q -c outside.ctx -g sha256 -f "$scheme" -m data -s signature -t ticket
  refused 0x2DB tpm2_verifysignature -Q -c outside.ctx -g sha256 -f "$scheme" -m rsa.pem -s signature # TPM_RC_SIGNATURE
  tpm2_import -Q -C parent.ctx -G "$type" -i outside.pem -u in.pub -r in.priv
  tpm2_load -Q -C parent.ctx -u in.pub -r in.priv -c in.ctx
  tpm2_sign -Q -c in.ctx -g sha256 -s "$scheme" -f plain -o signature data
  openssl dgst -sha256 -verify outside.pub -signature signature data
done

# Points of P-256: TPM2B_ECC_POINT here, SubjectPublicKeyInfo for OpenSSL.
point_of() { # PEM
  local xy
  xy=$(openssl pkey -pubin -in "$1" -outform DER | tail -c 64 | xxd -p -c 64)
  printf 00440020%s0020%s "${xy:0:64}" "${xy:64}" | xxd -r -p
}
pem_of() { # POINT
  local at
  at=$(hex "$1")
  printf 3059301306072a8648ce3d020106082a8648ce3d03010703420004%s%s "${at:8:64}" "${at:76:64}" | xxd -r -p |
    openssl pkey -pubin -inform DER
}
x_of() { hex "$1" | cut -c 9-72; }
derived() { openssl pkeyutl -derive -inkey "$1" -peerkey "$2" | xxd -p -c 64; }
number() { echo $((0x$(hex "$1"))); }
new_key ecdh ecc256:ecdh
public_pem ecdh
tpm2_ecdhkeygen -c ecdh.ctx -u point -o secret
tpm2_ecdhzgen -c ecdh.ctx -u point -o again
cmp secret again
openssl pkey -in outside.pem -pubout -out outside.pub
point_of outside.pub >point
tpm2_ecdhzgen -c ecdh.ctx -u point -o secret
same "ECDH" "$(x_of secret)" "$(derived outside.pem ecdh.pem)"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out moment.pem
openssl pkey -in moment.pem -pubout -out moment.pub
point_of moment.pub >moment
tpm2_ecephemeral -u ephemeral -t counter ecc256
tpm2_zgen2phase -c ecdh.ctx -t "$(number counter)" --static-public point --ephemeral-public moment --output-Z1 z1 --output-Z2 z2
same "the static secret" "$(x_of z1)" "$(derived outside.pem ecdh.pem)"
pem_of ephemeral >ephemeral.pem
same "the ephemeral secret" "$(x_of z2)" "$(derived moment.pem ephemeral.pem)"

new_key ecdaa ecc256:ecdaa
tpm2_commit -c ecdaa.ctx -t counter --eccpoint-K k --eccpoint-L l -u e
pem_of e >/dev/null # on the curve
tpm2_sign -Q -c ecdaa.ctx -g sha256 -s ecdaa --commit-index "$(number counter)" -o signature data

key=000102030405060708090a0b0c0d0e0f
iv=101112131415161718191a1b1c1d1e1f
printf %s $key | xxd -r -p >aes.key
printf %s $iv | xxd -r -p >iv
tpm2_import -Q -C parent.ctx -G aes -i aes.key -u aes.pub -r aes.priv
tpm2_load -Q -C parent.ctx -u aes.pub -r aes.priv -c aes.ctx
seq 1000 >long
tpm2_encryptdecrypt -Q -c aes.ctx -G cfb --iv iv -o cipher long
openssl enc -aes-128-cfb -K $key -iv $iv -in long -out expected
cmp cipher expected
tpm2_encryptdecrypt -Q -d -c aes.ctx -G cfb --iv iv -o plain cipher
cmp plain long
tpm2_import -Q -C parent.ctx -G hmac:sha256 -i aes.key -u hmac.pub -r hmac.priv
tpm2_load -Q -C parent.ctx -u hmac.pub -r hmac.priv -c hmac.ctx
tpm2_hmac -c hmac.ctx -g sha256 -o hmac long
same "HMAC" "$(hex hmac)" "$(openssl dgst -sha256 -mac HMAC -macopt hexkey:$key -r long | cut -d ' ' -f 1)"

tpm2_create -Q -C parent.ctx -i data -p old -u sealed.pub -r sealed.priv
tpm2_load -Q -C parent.ctx -u sealed.pub -r sealed.priv -c sealed.ctx
same "unsealed" "$(tpm2_unseal -c sealed.ctx -p old)" "$(cat data)"
tpm2_changeauth -C parent.ctx -c sealed.ctx -p old -r changed.priv new
tpm2_load -Q -C parent.ctx -u sealed.pub -r changed.priv -c changed.ctx
same "unsealed by the new password" "$(tpm2_unseal -c changed.ctx -p new)" "$(cat data)"
refused 0x98E tpm2_unseal -c changed.ctx -p old

tpm2_evictcontrol -Q -C o -c parent.ctx 0x81000001
same "persistent" "$(tpm2_getcap handles-persistent)" "- 0x81000001"
same "its name" "$(tpm2_readpublic -c 0x81000001 | field name)" "$(tpm2_readpublic -c parent.ctx | field name)"
tpm2_shutdown -c
power_cycle
tpm2_startup -c
refused 0x[0-9A-F]+ tpm2_readpublic -c ecc.ctx # a context of before the reset
tpm2_load -Q -C 0x81000001 -u ecc.pub -r ecc.priv -c ecc.ctx
tpm2_sign -Q -c ecc.ctx -g sha256 -f plain -o signature data
openssl dgst -sha256 -verify ecc.pem -signature signature data
tpm2_flushcontext -t
tpm2_encodeobject -C 0x81000001 -u ecc.pub -r ecc.priv -o ecc.tss
openssl asn1parse -in ecc.tss | says 2.23.133.10.1.3
tpm2_print -t TPM2B_PUBLIC ecc.pub | says ecdsa
tpm2 print -t TPM2B_PUBLIC rsa.pub | says 'value: rsa'
tpm2_evictcontrol -Q -C o -c 0x81000001
same "persistent" "$(tpm2_getcap handles-persistent)" ""
