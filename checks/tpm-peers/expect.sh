# Read by the scripts beside it before they begin. They get: TPM_KIND swtpm or mssim, TPM_CONTROL its control (platform) port,
# TPM2TOOLS_TCTI, and an empty folder of their own as the working directory.
set -euo pipefail
trap 'echo "line $LINENO of $0: $BASH_COMMAND: status $?" >&2' ERR

# What is found must be what is expected.
same() { # WHAT FOUND EXPECTED
  if [ "$2" != "$3" ]; then
    echo "$1: $2, expected $3" >&2
    exit 1
  fi
}

differs() { # WHAT FOUND OTHER
  if [ "$2" = "$3" ]; then
    echo "$1: $2 again" >&2
    exit 1
  fi
}

# The command must fail, for this reason: a response code as the tools write it, or other words of their message.
refused() { # REASON COMMAND...
  local reason=$1
  shift
  if "$@" >refusal 2>&1; then
    echo "was not refused: $*" >&2
    exit 1
  fi
  if ! grep -Eqi -- "$reason" refusal; then
    echo "refused for another reason than $reason: $*" >&2
    cat refusal >&2
    exit 1
  fi
}

# A file in hexadecimal.
hex() { xxd -p "$1" | tr -d '\n'; }

# SHA-256 of bytes given in hexadecimal, in any number of parts.
sha256_of() { printf %s "$@" | xxd -r -p | openssl dgst -sha256 -r | cut -d ' ' -f 1; }

zeros=$(printf '0%.0s' {1..64})

# The value after "name:" in what a tool prints on its standard input.
field() { awk -v name="$1:" '$1 == name && !found { print $2; found = 1 }'; }

# Standard input has this pattern. It is read to its end, so that no writer is left without a reader.
says() { grep -c "$@" >/dev/null; }

# Power off, power on: what a TPM2_Startup has to follow.
power_cycle() {
  exec 9<>"/dev/tcp/127.0.0.1/$TPM_CONTROL"
  local requests=('\0\0\0\002\0\0\0\0') # INIT
  [ "$TPM_KIND" = swtpm ] || requests=('\0\0\0\002' '\0\0\0\001' '\0\0\0\013') # POWER_OFF, POWER_ON, NV_ON
  for request in "${requests[@]}"; do
    printf "$request" >&9
    same "a power cycle" "$(head -c 4 <&9 | xxd -p)" 00000000
  done
  exec 9>&-
}
