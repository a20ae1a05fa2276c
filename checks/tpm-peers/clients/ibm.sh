# The utilities of IBM's TSS, which is another one than tpm2-tss: keys, sessions with encrypted parameters, NV.
. "$(dirname "$0")/../expect.sh"

export TPM_INTERFACE_TYPE=socsim TPM_DATA_DIR=. TPM_COMMAND_PORT=$((TPM_CONTROL - 1)) TPM_PLATFORM_PORT=$TPM_CONTROL
if [ "$TPM_KIND" = mssim ]; then
  export TPM_SERVER_TYPE=mssim
  tsspowerup
else
  export TPM_SERVER_TYPE=raw
fi
tssstartup
TPM_SESSION_ENCKEY=$(tssgetrandom -by 16 -ns) # of the files in which the tools hand sessions on
export TPM_SESSION_ENCKEY
seq 100 >data
tsscreateprimary -hi o -ecc nistp256 -si -opem key.pem >/dev/null
tsssign -hk 80000000 -ecc -if data -os signature
tssverifysignature -hk 80000000 -ecc -if data -is signature
tssverifysignature -ipem key.pem -ecc -if data -is signature
refused TPM_RC_SIGNATURE tssverifysignature -hk 80000000 -ecc -if key.pem -is signature
tssflushcontext -ha 80000000

tsscreateprimary -hi o -ecc nistp256 -st >/dev/null
tssstartauthsession -se h -hs 80000000 -bi 80000000 >/dev/null # salted and bound
tssgetrandom -by 16 -of random -se0 02000000 41 >/dev/null
same "random bytes" "$(stat -c %s random)" 16
printf 'a secret' >secret
tsscreate -hp 80000000 -bl -if secret -pwdk word -kt f -kt p -opu sealed.pub -opr sealed.priv -se0 02000000 61
tssload -hp 80000000 -ipu sealed.pub -ipr sealed.priv -se0 02000000 61 >/dev/null
tssunseal -ha 80000001 -pwd word -of found -se0 02000000 41
cmp secret found
refused TPM_RC_BAD_AUTH tssunseal -ha 80000001 -pwd wrong -of found

tssnvdefinespace -hi o -ha 01000000 -pwdn word -sz 16 >/dev/null
tssnvwrite -ha 01000000 -pwdn word -if secret -se0 02000000 21
tssnvread -ha 01000000 -pwdn word -sz 8 -of found -se0 02000000 41
cmp secret found
tssnvundefinespace -hi o -ha 01000000
