# NV indices of every type.
. "$(dirname "$0")/expect.sh"

printf 'sixteen bytes...' >data
tpm2_nvdefine 0x1500010 -C o -s 16 -a 'ownerread|ownerwrite|authread|authwrite|read_stclear|write_stclear' -p secret >/dev/null
refused 0x14A tpm2_nvread 0x1500010 -C o # TPM_RC_NV_UNINITIALIZED
tpm2_nvwrite 0x1500010 -C o -i data
tpm2_nvread 0x1500010 -C o -s 16 -o found
cmp data found
printf XY | tpm2_nvwrite 0x1500010 -C 0x1500010 -P secret --offset 4 -i -
same "a part of it" "$(tpm2_nvread 0x1500010 -C 0x1500010 -P secret -s 6 --offset 2)" "xtXYn "
refused 0x98E tpm2_nvread 0x1500010 -C 0x1500010 -P wrong # TPM_RC_AUTH_FAIL
tpm2_nvreadpublic 0x1500010 >public
same "size" "$(field size <public)" 16
same "attributes" "$(grep -A 2 attributes public | field friendly)" "ownerwrite|authwrite|write_stclear|ownerread|authread|written|read_stclear"
# The name is that of TPMS_NV_PUBLIC, now with TPMA_NV_WRITTEN.
attributes=$(grep -A 2 attributes public | field value)
name=000b$(sha256_of 01500010 000b "${attributes#0x}" 0000 0010)
same "name" "$(field name <public)" "$name"
tpm2_nvwritelock 0x1500010 -C o
refused 0x148 tpm2_nvwrite 0x1500010 -C o -i data # TPM_RC_NV_LOCKED
tpm2_nvreadlock 0x1500010 -C o
refused 0x148 tpm2_nvread 0x1500010 -C o -s 16
tpm2_shutdown -c
power_cycle
tpm2_startup -c
same "after a reset" "$(tpm2_nvread 0x1500010 -C o -s 16)" "sixtXYn bytes..."
tpm2_nvwrite 0x1500010 -C o -i data

tpm2_nvdefine 0x1500011 -C o -s 8 -a 'nt=counter|ownerread|ownerwrite' >/dev/null
tpm2_nvincrement 0x1500011 -C o
first=$(tpm2_nvread 0x1500011 -C o | xxd -p)
tpm2_nvincrement 0x1500011 -C o
same "the counter" "$(tpm2_nvread 0x1500011 -C o | xxd -p)" "$(printf %016x $((0x$first + 1)))"
tpm2_nvdefine 0x1500012 -C o -s 8 -a 'nt=bits|ownerread|ownerwrite' >/dev/null
tpm2_nvsetbits 0x1500012 -C o -i 0x8000000000000001
tpm2_nvsetbits 0x1500012 -C o -i 0x0000000000000100
same "the bits" "$(tpm2_nvread 0x1500012 -C o | xxd -p)" 8000000000000101
tpm2_nvdefine 0x1500013 -C o -a 'nt=extend|ownerread|ownerwrite' >/dev/null
tpm2_nvextend 0x1500013 -C o -i data
same "the extended one" "$(tpm2_nvread 0x1500013 -C o | xxd -p -c 64)" "$(sha256_of "$zeros" "$(hex data)")"
refused 0x[0-9A-F]+ tpm2_nvincrement 0x1500012 -C o # TPM_RC_ATTRIBUTES
for index in 0x1500010 0x1500011 0x1500012 0x1500013; do tpm2_nvundefine $index -C o; done
same "indices left" "$(tpm2_getcap handles-nv-index | wc -l)" 0
refused 0x18B tpm2_nvread 0x1500010 -C o

# A counter that is defined again does not begin below what any counter ever had.
tpm2_nvdefine 0x1500011 -C o -s 8 -a 'nt=counter|ownerread|ownerwrite' >/dev/null
tpm2_nvincrement 0x1500011 -C o
[ $((0x$(tpm2_nvread 0x1500011 -C o | xxd -p))) -gt $((0x$first)) ]
