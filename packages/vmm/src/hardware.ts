import { softwareHypervisor } from "@entresol/backend-software";
import { type AcpiTpm, Chipset, type Device } from "@entresol/devices";
import { asGpa, type Hypervisor, type Msr64, type Partition } from "@entresol/hypervisor";
import { ExitDispatcher, type InterruptTargets } from "@entresol/paravisor";
import { type CheckedConfig, type VmConfig, VmError } from "./config.ts";
import type { DeviceFactory } from "./platform.ts";
import type { RunControl } from "./run-control.ts";
import { SerialPort } from "./serial-port.ts";
import type { MachineTpm } from "./tpm/machine-tpm.ts";

/** The parts of a VM: processors and RAM, the devices, and between them what answers exits. */
export interface Hardware {
  readonly partition: Partition;
  readonly chipset: Chipset;
  /** One per vCPU, by its index. */
  readonly dispatchers: readonly ExitDispatcher[];
  /** The host's ends of the serial ports, COM1 first. */
  readonly serial: readonly SerialPort[];
  readonly tpm: MachineTpm | undefined;
}

/** Makes the parts and joins them, at power-on. Throws `VmError` `bad-config` for what the backend cannot do, and `HypervisorError`. */
export async function assembleHardware(
  config: VmConfig,
  checked: CheckedConfig,
  control: RunControl,
): Promise<Hardware> {
  const partition = await createPartition(config.hypervisor ?? softwareHypervisor, checked);
  try {
    return await assembleAround(partition, config, checked, control);
  } catch (error) {
    await partition[Symbol.asyncDispose]();
    throw error;
  }
}

async function assembleAround(
  partition: Partition,
  config: VmConfig,
  checked: CheckedConfig,
  control: RunControl,
): Promise<Hardware> {
  // Much code, and most embedders have no use for it.
  const tpmParts = checked.tpm === undefined ? undefined : await import("./tpm/machine-tpm.ts");
  const serial = Array.from(
    { length: checked.serialPorts },
    (_, i) =>
      new SerialPort(
        (bytes) => {
          const taken = chipset.serial[i]!.receive(bytes);
          control.wakeUp();
          return taken;
        },
        () => control.kick(),
      ),
  );
  const chipset = createChipset(partition, checked, serial, control, tpmParts?.acpiTpm(checked.tpm!));
  for (const factory of config.devices ?? []) attachDevice(chipset, factory, control);
  chipset.handOver();
  const machine = {
    processors: checked.cpus,
    physicalAddressBits: partition.physicalAddressBits,
    linearAddressBits: 48,
    x2apic: checked.x2apic,
  };
  const targets = checked.testDevice ? interruptTargets(partition, chipset, control) : undefined;
  const dispatchers = chipset.apics.map(
    (apic, i) => new ExitDispatcher(chipset.bus, apic, machine, i, targets),
  );
  // Last: from here on nothing fails, so that nobody has to give its state folder back.
  const tpm = await tpmParts?.MachineTpm.attach(
    checked.tpm!,
    chipset,
    checked.seed,
    () => partition.time === "real",
  );
  return { partition, chipset, dispatchers, serial, tpm };
}

/** The way of KVM's hypercall for interrupts, by the ids that the local APICs have from the start. */
function interruptTargets(partition: Partition, chipset: Chipset, control: RunControl): InterruptTargets {
  return {
    fixed: (id, vector) => chipset.apics[id]?.accept(vector, false) ?? false,
    nmi: (id) => {
      if (partition.vcpus[id] === undefined) return false;
      partition.vcpus[id].pendNmi();
      control.disturb(id);
      return true;
    },
  };
}

async function createPartition(hypervisor: Hypervisor, config: CheckedConfig): Promise<Partition> {
  const { name, abilities } = hypervisor;
  if (config.cpus > abilities.maximumVcpus) {
    throw new VmError(
      "bad-config",
      `cpus: ${config.cpus} is more than the ${abilities.maximumVcpus} of backend ${name}`,
    );
  }
  if (config.memory > abilities.maximumMemory) {
    throw new VmError(
      "bad-config",
      `memory: ${config.memory} bytes is more than the ${abilities.maximumMemory} of backend ${name}`,
    );
  }
  return hypervisor.createPartition({
    memory: config.memory,
    vcpus: config.cpus,
    time: config.time,
    seed: config.seed,
  });
}

function createChipset(
  partition: Partition,
  config: CheckedConfig,
  serial: readonly SerialPort[],
  control: RunControl,
  tpm: AcpiTpm | undefined,
): Chipset {
  const offset: Msr64 = { low: 0, high: 0 };
  const chipset = new Chipset({
    clock: partition.clock,
    processors: config.cpus,
    tscFrequency: partition.tscFrequency,
    physicalAddressBits: partition.physicalAddressBits,
    tscOffset: (i) => {
      partition.vcpus[i]!.tscOffset(offset);
      return offset;
    },
    rtcStart: config.rtcStart,
    x2apic: config.x2apic,
    memory: {
      size: partition.memory.size,
      read: (at, target) => partition.memory.read(asGpa(at), target),
      write: (at, source) => partition.memory.write(asGpa(at), source),
    },
    serialOutputs: serial.map(({ put }) => put),
    ...(tpm === undefined ? {} : { tpm }),
    powerOff: () => control.finish({ kind: "power-off" }),
    reset: () => control.finish({ kind: "reset" }),
    signals: {
      // Both swap whole processor contexts: the sender's slice ends, so that no slice can hold thousands of them.
      init: (i) => {
        partition.vcpus[i]!.init();
        control.kick();
      },
      startup: (i, vector) => {
        partition.vcpus[i]!.startup(vector);
        control.kick();
      },
      nmi: (i) => {
        partition.vcpus[i]!.pendNmi();
        control.disturb(i);
      },
      ready: (i) => control.disturb(i),
    },
  });
  chipset.wheel.onEarlier = () => control.kick();
  return chipset;
}

function attachDevice(chipset: Chipset, factory: DeviceFactory, control: RunControl): void {
  const { pci } = chipset;
  let functions = 0;
  const device: Device | undefined = factory({
    bus: chipset.bus,
    time: chipset.wheel,
    line: (n) => chipset.line(n),
    pci: {
      attach: (fn, place) => {
        pci.attach(fn, place);
        functions++;
      },
      hotAdd: (port, fn) => {
        pci.hotAdd(port, fn);
        control.wakeUp();
      },
      hotRemove: (port) => {
        pci.hotRemove(port);
        control.wakeUp();
      },
      pressAttentionButton: (port) => {
        const pressed = pci.pressAttentionButton(port);
        control.wakeUp();
        return pressed;
      },
    },
  });
  // A PCI function is saved and inspected with the hierarchy that it is plugged into.
  if (device === undefined && functions > 0) return;
  if (typeof device?.name !== "string")
    throw new VmError("bad-config", "devices: a function must give the device that it makes, with its name");
  chipset.attach(device);
}

/** Back to power-on, RAM all zero. Guest time goes on. */
export function resetHardware({ partition, chipset, dispatchers }: Hardware): void {
  partition.memory.fill(asGpa(0), partition.memory.size, 0);
  partition.reset();
  chipset.reset();
  for (const { msrs } of dispatchers) msrs.reset();
}
