# OpenSSL with tpm2-openssl's provider: keys in the TPM.
. "$(dirname "$0")/../expect.sh"

tpm2_startup -c
export TPM2OPENSSL_TCTI=$TPM2TOOLS_TCTI
provided=(-provider tpm2 -provider default -propquery '?provider=tpm2')
seq 1000 >data
printf 'a short secret' >secret
for algorithm in EC:group:P-256 EC:group:P-384 RSA:bits:2048; do
  IFS=: read -r kind option value <<<"$algorithm"
  openssl genpkey -provider tpm2 -algorithm "$kind" -pkeyopt "$option:$value" -out key.pem
  grep -q 'TSS2 PRIVATE KEY' key.pem
  openssl pkey "${provided[@]}" -in key.pem -pubout -out public.pem
  openssl dgst "${provided[@]}" -sha256 -sign key.pem -out signature data
  openssl dgst -sha256 -verify public.pem -signature signature data
done
openssl pkeyutl -encrypt -pubin -inkey public.pem -in secret -out cipher
openssl pkeyutl "${provided[@]}" -decrypt -inkey key.pem -in cipher -out found
cmp secret found
same "random bytes" "$(openssl rand -provider tpm2 -hex 16 | tr -d '\n' | wc -c)" 32
