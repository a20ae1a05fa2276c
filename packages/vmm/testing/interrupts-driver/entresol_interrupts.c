// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Driver for the PCI test function 1b36:00e2 (registers: specs/pci.md, "Test function"). It makes the function raise interrupts and
 * counts those that arrive, by vector, to be compared with what the function and the kernel count. This one file is under the MIT
 * licence or the GPL, as you choose ("Dual MIT/GPL"): the kernel exports some of what it needs to such modules only.
 *
 * insmod entresol_interrupts.ko kind=intx|msi|msix|lent [vectors=N]. Linux gives a function one MSI vector when no hardware remaps
 * interrupts. So with "lent" the first function takes 16 MSI-X vectors and the second sends to four of them by MSI.
 * Beside a function's sysfs files:
 *   run     write "VECTOR COUNT INTERVAL HOLD MASK": raise COUNT interrupts, INTERVAL ns apart, by VECTOR, or by each in turn when it
 *           is -1; HOLD 1: each waits until the one before is acknowledged; MASK 1: the vectors are masked now and then, 2: all of
 *           them at the function. Returns when the last has arrived; ETIMEDOUT when none comes for 5 s, ENODEV when it has gone.
 *   counts  what the last run gave, as "name value..." lines
 */
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/module.h>
#include <linux/msi.h>
#include <linux/pci.h>

enum { CONTROL = 0x08, VECTOR = 0x0c, INTERVAL = 0x10, TRIGGER = 0x14, STATUS = 0x24, ACKNOWLEDGE = 0x28 };
/* RAISED, ACKNOWLEDGED, EXCESS. */
enum { FIRST_COUNTER = 0x18, COUNTERS = 3, PENDING_BITS = 0xc00 };
enum { MASK_NOTHING, MASK_VECTORS, MASK_FUNCTION, MOST_VECTORS = 16, LOG_LENT = 2 };
/* What a function that was pulled out reads. */
#define GONE 0xffffffff

static char *kind = "msix";
module_param(kind, charp, 0444);
static int vectors = 1;
module_param(vectors, int, 0444);

struct testfn_vector {
	struct testfn *of;
	int irq;
	atomic_t taken;
	char name[32];
};

struct testfn {
	struct pci_dev *pci;
	void __iomem *registers;
	struct mutex running;
	int vectors;
	bool levels, lent, in_turn;
	unsigned int next, masked, pending, early;
	u32 counted[COUNTERS];
	/* Of its own, or of the lender. */
	struct testfn_vector *vector, own[MOST_VECTORS];
};

static struct testfn *lender;

static irqreturn_t taken(int irq, void *data)
{
	struct testfn_vector *vector = data;
	struct testfn *fn = vector->of;

	if (fn->levels) {
		u32 status = readl(fn->registers + STATUS);

		/* The line may be another's. */
		if (status == GONE || !(status & 2))
			return IRQ_NONE;
	}
	atomic_inc(&vector->taken);
	/* Before the acknowledgement, which lets the next one go. */
	if (fn->in_turn)
		writel(++fn->next % fn->vectors, fn->registers + VECTOR);
	writel(1, fn->registers + ACKNOWLEDGE);
	return IRQ_HANDLED;
}

static int all_taken(struct testfn *fn)
{
	int sum = 0;

	for (int i = 0; i < fn->vectors; i++)
		sum += atomic_read(&fn->vector[i].taken);
	return sum;
}

static void mask_vectors(struct testfn *fn, bool on)
{
	for (int i = 0; i < fn->vectors; i++)
		(on ? disable_irq : enable_irq)(fn->vector[i].irq);
}

static void mask_function(struct testfn *fn, bool on)
{
	int at = fn->pci->msix_enabled ? fn->pci->msix_cap : fn->pci->msi_cap + PCI_MSI_MASK_64;
	u32 all = fn->pci->msix_enabled ? PCI_MSIX_FLAGS_MASKALL << 16 : GENMASK(fn->vectors - 1, 0), value;

	pci_read_config_dword(fn->pci, at, &value);
	pci_write_config_dword(fn->pci, at, on ? value | all : value & ~all);
}

/* Lets some come, then masks for longer than their interval: they must wait as pending, and come when it is unmasked. */
static void mask_a_while(struct testfn *fn, int what)
{
	void (*mask)(struct testfn *fn, bool on) = what == MASK_VECTORS ? mask_vectors : mask_function;
	int before;
	u32 waiting;

	usleep_range(500, 1000);
	if (what == MASK_NOTHING)
		return;
	mask(fn, true);
	/* Until one that was sent before has arrived at another processor. */
	usleep_range(100, 150);
	before = all_taken(fn);
	usleep_range(300, 400);
	if (fn->pci->msix_enabled)
		waiting = readl(fn->registers + PENDING_BITS);
	else
		pci_read_config_dword(fn->pci, fn->pci->msi_cap + PCI_MSI_PENDING_64, &waiting);
	fn->early += all_taken(fn) != before;
	fn->pending += waiting != 0 && waiting != GONE;
	fn->masked++;
	mask(fn, false);
}

static ssize_t run_store(struct device *device, struct device_attribute *attribute, const char *text, size_t size)
{
	struct testfn *fn = dev_get_drvdata(device);
	void __iomem *registers = fn->registers;
	u32 count, interval, hold, before[COUNTERS], left, last = GONE;
	unsigned long limit = 0;
	int vector, what, error;

	if (sscanf(text, "%d %u %u %u %d", &vector, &count, &interval, &hold, &what) != 5 ||
	    (what != MASK_NOTHING && (fn->levels || (what == MASK_VECTORS && fn->lent))))
		return -EINVAL;
	mutex_lock(&fn->running);
	fn->next = fn->masked = fn->pending = fn->early = 0;
	for (int i = 0; i < fn->vectors; i++)
		atomic_set(&fn->vector[i].taken, 0);
	fn->in_turn = vector < 0;
	for (int i = 0; i < COUNTERS; i++)
		before[i] = readl(registers + FIRST_COUNTER + 4 * i);
	writel(hold, registers + CONTROL);
	writel(vector < 0 ? 0 : vector, registers + VECTOR);
	writel(interval, registers + INTERVAL);
	writel(count, registers + TRIGGER);
	do {
		mask_a_while(fn, what);
		left = readl(registers + TRIGGER);
		if (left != last)
			limit = jiffies + 5 * HZ;
		last = left;
		error = left == GONE ? -ENODEV : time_after(jiffies, limit) ? -ETIMEDOUT : 0;
	} while (error == 0 && (left != 0 || (readl(registers + STATUS) & 1)));
	/* One that is doubled would come now. */
	usleep_range(1000, 2000);
	writel(0, registers + TRIGGER);
	for (int i = 0; i < COUNTERS; i++)
		fn->counted[i] = readl(registers + FIRST_COUNTER + 4 * i) - before[i];
	mutex_unlock(&fn->running);
	return error < 0 ? error : size;
}
static DEVICE_ATTR_WO(run);

static ssize_t counts_show(struct device *device, struct device_attribute *attribute, char *text)
{
	struct testfn *fn = dev_get_drvdata(device);
	int at = sysfs_emit(text, "raised %u\nacknowledged %u\nexcess %u\nmasked %u\npending %u\nearly %u\n",
			    fn->counted[0], fn->counted[1], fn->counted[2], fn->masked, fn->pending, fn->early);

	for (int i = 0; i < fn->vectors; i++)
		at += sysfs_emit_at(text, at, "vector %d %d\n", fn->vector[i].irq, atomic_read(&fn->vector[i].taken));
	return at;
}
static DEVICE_ATTR_RO(counts);

static struct attribute *testfn_attrs[] = { &dev_attr_run.attr, &dev_attr_counts.attr, NULL };
ATTRIBUTE_GROUPS(testfn);

/* Sets up MSI for four vectors of the lender that one message can name: they lie side by side, the first at a multiple of four. */
static int borrow(struct testfn *fn)
{
	const int count = 1 << LOG_LENT, at = fn->pci->msi_cap;
	struct msi_msg message[MOST_VECTORS];

	for (int i = 0; i < lender->vectors; i++)
		get_cached_msi_msg(lender->own[i].irq, &message[i]);
	for (int first = 0; first + count <= lender->vectors; first++) {
		bool fit = true;

		for (int i = 0; i < count; i++)
			fit &= message[first + i].data == (message[first].data & -count) + i &&
			       message[first + i].address_lo == message[first].address_lo;
		if (!fit)
			continue;
		fn->lent = true;
		fn->vector = lender->own + first;
		fn->vectors = count;
		for (int i = 0; i < count; i++)
			fn->vector[i].of = fn;
		pci_write_config_dword(fn->pci, at + PCI_MSI_ADDRESS_LO, message[first].address_lo);
		pci_write_config_word(fn->pci, at + PCI_MSI_DATA_64, message[first].data);
		return pci_write_config_word(fn->pci, at + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | LOG_LENT << 4);
	}
	return -ENOSPC;
}

static int probe(struct pci_dev *pci, const struct pci_device_id *id)
{
	struct testfn *fn = devm_kzalloc(&pci->dev, sizeof(*fn), GFP_KERNEL);
	int kinds = !strcmp(kind, "intx") ? PCI_IRQ_LEGACY : !strcmp(kind, "msi") ? PCI_IRQ_MSI : PCI_IRQ_MSIX;
	int error = fn ? pcim_enable_device(pci) : -ENOMEM;

	error = error ?: pcim_iomap_regions(pci, 1, "entresol");
	if (error)
		return error;
	fn->pci = pci;
	fn->levels = kinds == PCI_IRQ_LEGACY;
	fn->registers = pcim_iomap_table(pci)[0];
	fn->vector = fn->own;
	mutex_init(&fn->running);
	pci_set_master(pci);
	pci_set_drvdata(pci, fn);
	if (lender)
		return borrow(fn);
	fn->vectors = pci_alloc_irq_vectors(pci, 1, clamp(vectors, 1, MOST_VECTORS), kinds);
	for (int i = 0; i < fn->vectors; i++) {
		struct testfn_vector *vector = &fn->own[i];

		vector->of = fn;
		vector->irq = pci_irq_vector(pci, i);
		snprintf(vector->name, sizeof(vector->name), "entresol:%s:%d", pci_name(pci), i);
		/* disable_irq then sets the vector's mask at once, not when the next interrupt comes. */
		if (!fn->levels)
			irq_set_status_flags(vector->irq, IRQ_DISABLE_UNLAZY);
		error = devm_request_irq(&pci->dev, vector->irq, taken, fn->levels ? IRQF_SHARED : 0, vector->name, vector);
		if (error)
			return error;
	}
	if (!strcmp(kind, "lent"))
		lender = fn;
	return fn->vectors < 0 ? fn->vectors : 0;
}

static const struct pci_device_id testfn_ids[] = { { PCI_DEVICE(0x1b36, 0x00e2) }, {} };
static struct pci_driver testfn_driver = {
	.name = "entresol_interrupts", .id_table = testfn_ids, .probe = probe, .dev_groups = testfn_groups,
};
module_pci_driver(testfn_driver);
MODULE_DESCRIPTION("Counts interrupts of the Entresol test function");
MODULE_LICENSE("Dual MIT/GPL");
