# Start-up, capabilities, random numbers, hashes, clock, self test: what needs no object.
. "$(dirname "$0")/expect.sh"

tpm2_startup -c # started already: no error
tpm2_getcap properties-fixed >properties
same "family" "$(awk '/TPM2_PT_FAMILY_INDICATOR/ { getline; getline; print $2 }' properties)" '"2.0"'
same "vendor" "$(awk '/TPM2_PT_VENDOR_STRING_1/ { getline; print $2 }' properties)" 0x53572020
tpm2_getcap algorithms >algorithms
for name in rsa sha1 hmac aes keyedhash sha256 sha384 sha512 rsassa rsaes rsapss oaep ecdsa ecdh ecdaa ecc cfb camellia; do
  grep -q "^$name:" algorithms
done
tpm2_getcap ecc-curves | says 'TPM2_ECC_NIST_P256: 0x3'
tpm2_getcap commands | says '^TPM2_CC_Create:'
same "permanent handles" "$(tpm2_getcap handles-permanent | grep -c '0x4000000[179ABC]')" 6

same "random bytes" "$(tpm2_getrandom --hex 16 | wc -c)" 32
differs "random bytes" "$(tpm2_getrandom --hex 16)" "$(tpm2_getrandom --hex 16)"
head -c 100 /dev/urandom | tpm2_stirrandom
tpm2_getrandom -o random 32
same "random bytes in a file" "$(stat -c %s random)" 32

seq 2000 >long
for algorithm in sha1 sha256 sha384 sha512; do
  tpm2_hash -C o -g $algorithm -o digest -t ticket long
  same "$algorithm over $(stat -c %s long) bytes" "$(hex digest)" "$(openssl dgst -$algorithm -r long | cut -d ' ' -f 1)"
done
printf abc | tpm2_hash -g sha256 --hex | says ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad

tpm2_testparms rsa2048
tpm2_testparms ecc256:ecdsa-sha256
tpm2_testparms aes128cfb
refused 'unsupported|not support|0x[0-9A-F]+' tpm2_testparms rsa5120
tpm2_geteccparameters ecc256 -o parameters
hex parameters | says ffffffff00000001000000000000000000000000ffffffffffffffffffffffff
hex parameters | says ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551

tpm2_selftest -f
tpm2_incrementalselftest sha256 aes >rest
tpm2_gettestresult | says success

same "an error's name" "$(tpm2_rc_decode 0x9a2)" "tpm:session(1):authorization failure without DA implications"
printf '\200\001\0\0\0\014\0\0\001\173\0\010' | tpm2_send -o response # GetRandom, 8 bytes
same "a raw command's response" "$(hex response | cut -c 1-24)" 800100000014000000000008

clock() { tpm2_readclock | field clock; }
before=$(clock)
tpm2_setclock $((before + 100000))
[ "$(clock)" -ge $((before + 100000)) ]
refused 0x1C4 tpm2_setclock "$before" # TPM_RC_VALUE: not back
tpm2_clockrateadjust s
tpm2_clockrateadjust f

counts() { tpm2_readclock >clock && echo "$(field reset_count <clock) $(field restart_count <clock)"; }
read -r resets restarts <<<"$(counts)"
tpm2_shutdown -c
power_cycle
tpm2_startup -c
same "resets" "$(counts)" "$((resets + 1)) 0"
tpm2_shutdown
power_cycle
tpm2_startup
same "restarts" "$(counts)" "$((resets + 1)) 1"
