# clevis binds a secret to PCR 7.
. "$(dirname "$0")/../expect.sh"

tpm2_startup -c
seq 1000 >secret
clevis encrypt tpm2 '{"pcr_bank":"sha256","pcr_ids":"7"}' <secret >bound
clevis decrypt <bound >found
cmp secret found
tpm2_pcrextend "7:sha256=$zeros"
refused 0x99D clevis decrypt <bound
