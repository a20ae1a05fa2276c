# PCRs and the event log. EVENT_LOG is a log that the lane made, EVENT_LOG_PCR4 and EVENT_LOG_PCR7 its replay by SHA-256.
. "$(dirname "$0")/expect.sh"

value() { tpm2_pcrread "$1:$2" -o value >/dev/null && hex value; }
same "PCR 16" "$(value sha256 16)" "$zeros"
digest=$(sha256_of 616263)
tpm2_pcrextend "16:sha256=$digest"
once=$(sha256_of "$zeros" "$digest")
same "PCR 16, extended" "$(value sha256 16)" "$once"
tpm2_pcrextend "16:sha256=$digest"
same "PCR 16, extended again" "$(value sha256 16)" "$(sha256_of "$once" "$digest")"
tpm2_pcrread sha256:16 | says -i "$(sha256_of "$once" "$digest")"
tpm2_pcrreset 16
same "PCR 16, reset" "$(value sha256 16)" "$zeros"
refused 0x907 tpm2_pcrreset 0 # TPM_RC_LOCALITY

seq 1000 >event
tpm2_pcrevent 16 event >digests
for bank in sha1 sha256 sha384 sha512; do
  digest=$(openssl dgst -$bank -r event | cut -d ' ' -f 1)
  same "$bank of the event" "$(field $bank <digests)" "$digest"
  initial=$(printf '0%.0s' $(seq ${#digest}))
  expected=$(printf %s "$initial" "$digest" | xxd -r -p | openssl dgst -$bank -r | cut -d ' ' -f 1)
  same "$bank of PCR 16" "$(value $bank 16)" "$expected"
done
same "an event without PCR" "$(tpm2_pcrevent event | field sha256)" "$(openssl dgst -sha256 -r event | cut -d ' ' -f 1)"

banks() { tpm2_getcap pcrs | awk '/- sha/ { name = $2 } /- sha.*\[ 0/ { printf "%s ", name }'; }
same "banks" "$(banks)" "sha1: sha256: sha384: sha512: "
tpm2_pcrallocate sha1:none+sha256:all+sha384:all+sha512:none >/dev/null
same "banks before the reset" "$(banks)" "sha1: sha256: sha384: sha512: "
tpm2_shutdown -c
power_cycle
tpm2_startup -c
same "banks after the reset" "$(banks)" "sha256: sha384: "
same "PCR 16 after the reset" "$(value sha256 16)" "$zeros"

tpm2_eventlog "$EVENT_LOG" >log
same "events" "$(grep -c EventNum log)" "$EVENT_LOG_EVENTS"
replayed() { awk -v number="$1" '/^  sha256:/ { inside = 1; next } /^  sha/ { inside = 0 } inside && $1 == number { print substr($3, 3) }' log; }
same "PCR 4 by the log" "$(replayed 4)" "$EVENT_LOG_PCR4"
same "PCR 7 by the log" "$(replayed 7)" "$EVENT_LOG_PCR7"
