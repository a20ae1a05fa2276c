/*
 * What runs in the guest. /init prepares the file systems and becomes busybox init, which keeps two things alive: a shell on
 * ttyS0 and the agent on ttyS1, and which answers `poweroff`, `reboot` and `halt`.
 *
 * The agent's protocol, version 1: lines of text both ways, each ended by one LF.
 *   guest: ENTRESOL READY 1
 *   host:  EXEC <nonce> <base64 of a shell command>
 *   guest: the command's stdout and stderr as raw bytes, then LF ENTRESOL EXIT <nonce> <status 0 to 255> LF
 *   host:  SIZE <rows> <columns>       sets the window size of the console on ttyS0
 *   host:  POWEROFF, REBOOT            sync, then at once
 * One command at a time; lines sent meanwhile wait. Unknown lines are ignored. A command's stdin is empty. A nonce is any
 * word of the host's choice that its output will not contain.
 */

/** /init: the first process. */
export const initScript = `#!/bin/sh
# Busybox finds its applets by links, and itself by /proc.
busybox mount -t proc proc /proc
busybox --install -s /bin
mount -t sysfs sysfs /sys
# The log of a measured boot is there; some kernels do without.
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
hostname entresol
ifconfig lo 127.0.0.1
while read -r module; do
  insmod "/lib/modules/$module.ko"
done </etc/modules
exec init
`;

/** /etc/inittab: a login shell with job control on the console, the agent beside it. */
export const inittab = `ttyS0::respawn:-/bin/sh
null::respawn:/sbin/agent
::ctrlaltdel:/bin/reboot
::shutdown:/bin/sync
`;

/** /etc/profile: read by the console's login shell. */
export const profile = `export HOME=/root PATH=/bin:/sbin:/usr/bin:/usr/sbin TERM="\${TERM:-linux}"
PS1='entresol:\\w# '
cd
echo
echo "Linux $(uname -r) on $(nproc) CPU(s). \\"poweroff\\" ends the machine."
`;

/** /sbin/agent: serves the host's requests on ttyS1. Busybox init starts it again should it end. */
export const agentScript = `#!/bin/sh
port=/dev/ttyS1
export HOME=/root PATH=/bin:/sbin:/usr/bin:/usr/sbin TERM=dumb
cd
# A machine without a second serial port has no agent.
stty -F $port 115200 raw -echo 2>/dev/null || exec sleep 1000000000
exec <>$port >&0 2>&0
echo 'ENTRESOL READY 1'
while read -r verb first second; do
  case $verb in
    EXEC)
      setsid sh -c "$(printf %s "$second" | base64 -d)" </dev/null
      printf '\\nENTRESOL EXIT %s %s\\n' "$first" $? ;;
    SIZE) stty -F /dev/ttyS0 rows "$first" cols "$second" 2>/dev/null ;;
    POWEROFF) sync; poweroff -f ;;
    REBOOT) sync; reboot -f ;;
  esac
done
`;
