/*
 * Runs generated code on the processor of this machine: the reference side of the differential test.
 *
 * A file of records is mapped shared (argv[1], argv[2] records). For each request on stdin, a u32 count, the first
 * `count` records are run and overwritten with their outcome, then the count is echoed on stdout. The constants of the
 * layout (R_*, A_* and a few more) come from record.ts as -D options, so that both sides read one truth.
 *
 * A case is entered by rt_sigreturn and left by the signal that its end marker (HLT) or its fault raises, so one
 * mechanism gives all registers exactly, RIP and RSP included, without a stub that has to preserve them. The handler
 * stores the outcome of a case and turns its own signal frame into the start of the next one.
 *
 * The handler runs with the FS base of the test, so nothing in it may touch thread-local storage.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <asm/ldt.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define FLAGS_LOADABLE 0x50dd5u /* what rt_sigreturn takes over: RF AC OF DF TF SF ZF AF PF CF */
#define FLAGS_POPPED 0x204000u  /* NT ID: rt_sigreturn keeps them as they are when it is called */
#define PAGE 4096
#define REFUSED 3 /* exit status: this system does not let us do what the test needs */

static uint8_t *records;
static volatile uint32_t position, limit;
static uint8_t *code_alias, *modifiable_alias; /* writable views of the two code regions */
static int running, base_instructions;
static uint32_t ticks_seen, tick_position;
static greg_t idle_registers[NGREG];
static uint8_t idle_float[512];
static uint64_t idle_fs;

static uint64_t get_base(int gs) {
  uint64_t value;
  if (base_instructions) {
    if (gs) __asm__ volatile("rdgsbase %0" : "=r"(value));
    else __asm__ volatile("rdfsbase %0" : "=r"(value));
    return value;
  }
  long result = SYS_arch_prctl;
  __asm__ volatile("syscall" : "+a"(result) : "D"(gs ? 0x1004 : 0x1003), "S"(&value) : "rcx", "r11", "memory");
  return value;
}

static void set_base(int gs, uint64_t value) {
  if (base_instructions) {
    if (gs) __asm__ volatile("wrgsbase %0" ::"r"(value));
    else __asm__ volatile("wrfsbase %0" ::"r"(value));
    return;
  }
  long result = SYS_arch_prctl;
  __asm__ volatile("syscall" : "+a"(result) : "D"(gs ? 0x1001 : 0x1002), "S"(value) : "rcx", "r11", "memory");
}

static uint64_t get64(const uint8_t *at) { uint64_t v; memcpy(&v, at, 8); return v; }
static uint32_t get32(const uint8_t *at) { uint32_t v; memcpy(&v, at, 4); return v; }
static void put64(uint8_t *at, uint64_t v) { memcpy(at, &v, 8); }
static void put32(uint8_t *at, uint32_t v) { memcpy(at, &v, 4); }
static void put16(uint8_t *at, uint16_t v) { memcpy(at, &v, 2); }

/* The ucontext order of the general registers, in the order of their numbers. */
static const int number_to_context[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                          REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* Where the code bytes of an address can be written; 0 when it is in neither code region. */
static uint8_t *writable_code(uint64_t at) {
  if (at >= A_CODE && at < A_CODE + A_CODE_SIZE) return code_alias + (at - A_CODE);
  if (at >= A_MODIFIABLE && at < A_MODIFIABLE + A_MODIFIABLE_SIZE) return modifiable_alias + (at - A_MODIFIABLE);
  return 0;
}

static uint64_t code_start; /* of the running case: its RIP is overwritten by the outcome */

/* Hash of what differs from `idle` in a region, which is filled with it again; 0 when nothing does. */
static uint32_t take_stray(void *region, uint32_t size, uint32_t idle) {
  uint32_t *words = region, any = 0, hash = 1;
  for (uint32_t i = 0; i < size / 4; i++) any |= words[i] ^ idle;
  if (any == 0) return 0;
  for (uint32_t i = 0; i < size / 4; i++)
    if (words[i] != idle) hash = (hash ^ words[i]) * 0x9e3779b1u + i;
  for (uint32_t i = 0; i < size / 4; i++) words[i] = idle;
  return hash ? hash : 1;
}

static void store_outcome(uint8_t *r, const ucontext_t *context, uint32_t vector, uint64_t fs, uint64_t gs,
                          const uint16_t *selectors) {
  const greg_t *g = context->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) put64(r + R_GPR + 8 * i, g[number_to_context[i]]);
  put64(r + R_RIP, g[REG_RIP]);
  put64(r + R_FLAGS, g[REG_EFL]);
  put64(r + R_FS_BASE, fs);
  put64(r + R_GS_BASE, gs);
  put64(r + R_CR2, vector == 14 ? (uint64_t)g[REG_CR2] : 0);
  put32(r + R_VECTOR, vector);
  put32(r + R_ERROR, vector >= 8 && vector <= 17 && vector != 16 && vector != 9 ? (uint32_t)g[REG_ERR] : 0);
  put16(r + R_SELECTORS, selectors[0]);
  put16(r + R_SELECTORS + 2, g[REG_CSGSFS] & 0xffff);
  put16(r + R_SELECTORS + 4, (uint64_t)g[REG_CSGSFS] >> 48);
  put16(r + R_SELECTORS + 6, selectors[1]);
  put16(r + R_SELECTORS + 8, selectors[2]);
  put16(r + R_SELECTORS + 10, selectors[3]);
  memcpy(r + R_FX, context->uc_mcontext.fpregs, R_FX_SIZE);
  memcpy(r + R_CROSS, (void *)A_CROSS, R_CROSS_SIZE);
  memcpy(r + R_HEAD, (void *)A_HEAD, R_HEAD_SIZE);
  memcpy(r + R_TAIL, (void *)A_TAIL, R_TAIL_SIZE);
  memset((void *)A_CROSS, 0, R_CROSS_SIZE);
  memset((void *)A_HEAD, 0, R_HEAD_SIZE);
  memset((void *)A_TAIL, 0, R_TAIL_SIZE);
  uint32_t stray = take_stray((void *)A_DATA, A_DATA_SIZE, 0);
  uint8_t *code = writable_code(code_start);
  uint32_t length = get32(r + R_LENGTH);
  if (code) {
    memcpy(r + R_CODE, code, length);
    memset(code, 0xf4, length);
  }
  /* Code that may modify itself may also have written beside itself. */
  if (code_start >= A_MODIFIABLE && code) stray ^= take_stray(modifiable_alias, A_MODIFIABLE_SIZE, 0xf4f4f4f4);
  put64(r + R_STRAY, stray);
}

static void load_case(const uint8_t *r, ucontext_t *context) {
  greg_t *g = context->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) g[number_to_context[i]] = get64(r + R_GPR + 8 * i);
  g[REG_RIP] = get64(r + R_RIP);
  g[REG_EFL] = (g[REG_EFL] & ~(uint64_t)FLAGS_LOADABLE) | (get32(r + R_FLAGS) & FLAGS_LOADABLE);
  uint16_t cs, ss;
  memcpy(&cs, r + R_SELECTORS + 2, 2);
  memcpy(&ss, r + R_SELECTORS + 4, 2);
  code_start = g[REG_RIP] + (cs == CS_16 ? A_CODE : 0);
  g[REG_CSGSFS] = (uint64_t)cs | (uint64_t)ss << 48;
  uint8_t *fx = (uint8_t *)context->uc_mcontext.fpregs;
  memcpy(fx, r + R_FX, R_FX_SIZE);
  fx[512] |= 3; /* XSTATE_BV: the x87 and SSE parts are to be loaded, not initialised */
  memcpy((void *)A_CROSS, r + R_CROSS, R_CROSS_SIZE);
  memcpy((void *)A_HEAD, r + R_HEAD, R_HEAD_SIZE);
  memcpy((void *)A_TAIL, r + R_TAIL, R_TAIL_SIZE);
  uint8_t *code = writable_code(code_start);
  if (code) memcpy(code, r + R_CODE, get32(r + R_LENGTH));
  uint16_t selector;
  memcpy(&selector, r + R_SELECTORS, 2);
  __asm__ volatile("mov %0, %%es" ::"r"(selector));
  memcpy(&selector, r + R_SELECTORS + 6, 2);
  __asm__ volatile("mov %0, %%ds" ::"r"(selector));
  memcpy(&selector, r + R_SELECTORS + 8, 2);
  __asm__ volatile("mov %0, %%fs" ::"r"(selector));
  memcpy(&selector, r + R_SELECTORS + 10, 2);
  __asm__ volatile("mov %0, %%gs" ::"r"(selector));
  uint64_t flags = (get32(r + R_FLAGS) & FLAGS_POPPED) | 0x202;
  __asm__ volatile("push %0\n\tpopf" ::"r"(flags) : "cc", "memory");
  set_base(0, get64(r + R_FS_BASE));
  set_base(1, get64(r + R_GS_BASE));
}

static void on_signal(int number, siginfo_t *info, void *frame) {
  (void)info;
  /* The case may have set AC, and most of what follows is not aligned. */
  __asm__ volatile("pushq $0x202\n\tpopfq" ::: "cc", "memory");
  ucontext_t *context = frame;
  greg_t *g = context->uc_mcontext.gregs;
  if (number == SIGALRM) {
    /* Only a case that was already running two ticks ago is stopped. */
    if (!running || (uint64_t)g[REG_RIP] >> 32) return;
    if (tick_position != position) {
      tick_position = position;
      ticks_seen = 0;
      return;
    }
    if (++ticks_seen < 3) return;
  }
  if (running) {
    uint16_t selectors[4];
    __asm__ volatile("mov %%es, %0" : "=r"(selectors[0]));
    __asm__ volatile("mov %%ds, %0" : "=r"(selectors[1]));
    __asm__ volatile("mov %%fs, %0" : "=r"(selectors[2]));
    __asm__ volatile("mov %%gs, %0" : "=r"(selectors[3]));
    uint32_t vector = number == SIGALRM ? R_VECTOR_TIMEOUT : number == SIGSYS ? R_VECTOR_SYSCALL : (uint32_t)g[REG_TRAPNO];
    store_outcome(records + (size_t)position * R_SIZE, context, vector, get_base(0), get_base(1), selectors);
    position++;
  } else {
    memcpy(idle_registers, g, sizeof idle_registers);
    memcpy(idle_float, context->uc_mcontext.fpregs, 512);
    running = 1;
  }
  if (position < limit) {
    load_case(records + (size_t)position * R_SIZE, context);
    return;
  }
  running = 0;
  __asm__ volatile("mov %0, %%fs" ::"r"(0));
  set_base(0, idle_fs);
  memcpy(g, idle_registers, sizeof idle_registers);
  memcpy(context->uc_mcontext.fpregs, idle_float, 512);
}

static void *map(uint64_t at, size_t size, int protection, int fd) {
  int kind = (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | (at ? MAP_FIXED_NOREPLACE : 0) | MAP_POPULATE;
  void *p = mmap((void *)at, size, protection, kind, fd, 0);
  if (p == MAP_FAILED || (at && p != (void *)at)) {
    perror("mmap");
    exit(REFUSED);
  }
  return p;
}

/* A code region: executable at its fixed address, writable through an alias, filled with the end marker. */
static uint8_t *map_code(uint64_t at, size_t size, int protection) {
  int fd = memfd_create("code", 0);
  if (fd < 0 || ftruncate(fd, size)) {
    perror("memfd");
    exit(REFUSED);
  }
  uint8_t *alias = map(0, size, PROT_READ | PROT_WRITE, fd);
  memset(alias, 0xf4, size);
  map(at, size, protection, fd);
  close(fd);
  return alias;
}

/* Generated code must never reach the kernel: only system calls from above 4 GiB (our own) pass, all others give SIGSYS. */
static void forbid_system_calls(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
    perror("seccomp");
    exit(REFUSED);
  }
}

/* The LDT: 16-bit code, and data with a base and a limit. */
static int install_segments(void) {
  struct user_desc code = {.entry_number = CS_16 >> 3, .base_addr = A_CODE, .limit = CODE_LIMIT, .contents = 2, .useable = 1};
  struct user_desc data = {.entry_number = (CS_16 >> 3) + 1, .base_addr = A_SEGMENT, .limit = DATA_LIMIT, .useable = 1};
  return !syscall(SYS_modify_ldt, 1, &code, sizeof code) && !syscall(SYS_modify_ldt, 1, &data, sizeof data);
}

static int read_all(void *to, size_t size) {
  for (size_t done = 0; done < size;) {
    ssize_t n = read(0, (uint8_t *)to + done, size - done);
    if (n <= 0) return 0;
    done += n;
  }
  return 1;
}

static int write_all(const void *from, size_t size) {
  for (size_t done = 0; done < size;) {
    ssize_t n = write(1, (const uint8_t *)from + done, size - done);
    if (n <= 0) return 0;
    done += n;
  }
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  // LSL of one of Linux's descriptors gives the number of the CPU: always 0 here, as in our guest. Without leave it may differ.
  cpu_set_t first;
  CPU_ZERO(&first);
  CPU_SET(0, &first);
  (void)sched_setaffinity(0, sizeof first, &first);
  FILE *file = fopen(argv[1], "r+b");
  if (!file) {
    perror(argv[1]);
    return 2;
  }
  records = map(0, (size_t)atol(argv[2]) * R_SIZE, PROT_READ | PROT_WRITE, fileno(file));
  base_instructions = (getauxval(AT_HWCAP2) & 2) != 0;
  code_alias = map_code(A_CODE, A_CODE_SIZE, PROT_READ | PROT_EXEC);
  modifiable_alias = map_code(A_MODIFIABLE, A_MODIFIABLE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
  map(A_DATA, 2 * PAGE, PROT_READ | PROT_WRITE, -1);
  uint8_t *constant = map(A_CONSTANT, PAGE, PROT_READ | PROT_WRITE, -1);
  for (int i = 0; i < PAGE; i++) constant[i] = (uint8_t)(i * 167 + (i >> 3) * 13);
  mprotect(constant, PAGE, PROT_READ);

  static uint8_t alternate[1 << 16];
  stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  sigaltstack(&stack, 0);
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART};
  int numbers[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGTRAP, SIGSYS, SIGALRM};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaction(numbers[i], &action, 0);
  struct itimerval tick = {{0, 20000}, {0, 20000}};
  setitimer(ITIMER_REAL, &tick, 0);
  idle_fs = get_base(0);

  uint32_t hello[4] = {0}, unused;
  __get_cpuid(0, &unused, &hello[0], &hello[2], &hello[1]);
  hello[3] = (base_instructions ? 1 : 0) | (install_segments() ? 2 : 0);
  forbid_system_calls();
  if (!write_all(hello, sizeof hello)) return 1;
  for (uint32_t count; read_all(&count, 4);) {
    position = 0;
    limit = count;
    if (count) __asm__ volatile("int3" ::: "memory");
    if (!write_all(&count, 4)) return 1;
  }
  return 0;
}
