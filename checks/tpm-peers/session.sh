# Runs a script with tpm2-abrmd between its tools and the TPM: dbus-run-session -- bash session.sh SCRIPT. TPM_TCTI says where the TPM is.
set -eu
name="com.intel.tss2.Tabrmd$$"
tpm2-abrmd --session --allow-root --dbus-name="$name" --tcti="$TPM_TCTI" 2>broker.log &
broker=$!
trap 'kill $broker 2>/dev/null; wait $broker 2>/dev/null' EXIT
owned() {
  dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner "string:$name" | grep -q true
}
for _ in $(seq 200); do
  if owned; then break; fi
  if ! kill -0 $broker; then
    cat broker.log >&2
    exit 1
  fi
  sleep 0.05
done
export TPM2TOOLS_TCTI="tabrmd:bus_type=session,bus_name=$name" TSS2_LOG=all+NONE
bash "$1"
