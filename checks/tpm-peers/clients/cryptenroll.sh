# systemd-cryptenroll seals the key of a LUKS volume to PCR 7; what it sealed is unsealed again and opens the volume.
. "$(dirname "$0")/../expect.sh"

tpm2_startup -c
measured=$(sha256_of 01)
tpm2_pcrextend "7:sha256=$measured"
printf passphrase >key
truncate -s 20M volume
cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 volume key
PASSWORD=passphrase systemd-cryptenroll --tpm2-device="$TPM2TOOLS_TCTI" --tpm2-pcrs=7 volume
cryptsetup luksDump volume --dump-json-metadata >metadata
text() { grep -o "\"$1\":\"[^\"]*\"" metadata | cut -d '"' -f 4 | tr -d '\\'; }
registers=$(sha256_of "$(sha256_of "$zeros" "$measured")")
same "the policy" "$(text tpm2-policy-hash)" "$(sha256_of "$zeros" 0000017f 00000001000b03800000 "$registers")"

# The blob: TPM2B_PRIVATE, TPM2B_PUBLIC.
text tpm2-blob | base64 -d >blob
length=$((0x$(hex blob | cut -c 1-4) + 2))
head -c $length blob >sealed.priv
tail -c +$((length + 1)) blob >sealed.pub
tpm2_createprimary -Q -C o -G ecc -c parent.ctx
tpm2_flushcontext -t
tpm2_load -Q -C parent.ctx -u sealed.pub -r sealed.priv -c sealed.ctx
tpm2_flushcontext -t
tpm2_startauthsession --policy-session -S session.ctx
tpm2_policypcr -Q -S session.ctx -l sha256:7
tpm2_unseal -c sealed.ctx -p session:session.ctx -o secret
tpm2_flushcontext session.ctx
base64 -w 0 secret >volume.key
cryptsetup open --test-passphrase --key-file volume.key volume

tpm2_pcrextend "7:sha256=$measured"
tpm2_flushcontext -t
tpm2_startauthsession --policy-session -S session.ctx
tpm2_policypcr -Q -S session.ctx -l sha256:7
refused 0x99D tpm2_unseal -c sealed.ctx -p session:session.ctx
