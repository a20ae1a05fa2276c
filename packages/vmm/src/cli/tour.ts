/** What a boot without a terminal shows: commands for the guest, in order. */
export interface TourStop {
  readonly title: string;
  readonly command: string;
}

export const tour: readonly TourStop[] = [
  { title: "Kernel", command: "uname -srvm; cat /proc/cmdline" },
  {
    title: "Processors",
    command:
      "grep -E '^(processor|model name)' /proc/cpuinfo; cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
  },
  { title: "Interrupts", command: "cat /proc/interrupts" },
  {
    title: "Devices",
    command:
      "cat /proc/ioports; grep -iE 'apic|ram|acpi' /proc/iomem; dmesg | grep -E '16550|rtc_cmos' | cut -c1-100",
  },
];
