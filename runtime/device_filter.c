/* One table, written to v1 as text and compiled for v2. */
#include "runtime/device_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"

#define ANY 0xffffffffu

static const struct rule {
	char type;
	uint32_t major, minor;
	const char *access;
} rules[] = {
	{'c', ANY, ANY, "m"},	/* making a node is harmless, opening it is not */
	{'b', ANY, ANY, "m"},
	{'c', 1, 3, "rwm"},	/* null */
	{'c', 1, 5, "rwm"},	/* zero */
	{'c', 1, 7, "rwm"},	/* full */
	{'c', 1, 8, "rwm"},	/* random */
	{'c', 1, 9, "rwm"},	/* urandom */
	{'c', 5, 0, "rwm"},	/* tty */
	{'c', 5, 1, "rwm"},	/* console */
	{'c', 5, 2, "rwm"},	/* ptmx */
	{'c', 136, ANY, "rwm"}, /* pts */
};
#define N_RULES (sizeof(rules) / sizeof(rules[0]))

static int write_rule(int dir_fd, const char *file, const char *text)
{
	_cleanup_(fd_close) int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return fail(errno, "cgroup devices: writing \"%s\" to %s: %s", text, file, strerror(errno));
	return 0;
}

int device_filter_v1(int dir_fd)
{
	_cleanup_(fd_close) int fd = -1;
	int r = write_rule(dir_fd, "devices.deny", "a");

	if (r < 0)
		return r;
	fd = openat(dir_fd, "devices.allow", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(errno, "cgroup devices: devices.allow: %s", strerror(errno));
	for (size_t i = 0; i < N_RULES; i++) {
		char text[64], major[16] = "*", minor[16] = "*";
		int n;

		if (rules[i].major != ANY)
			snprintf(major, sizeof(major), "%u", rules[i].major);
		if (rules[i].minor != ANY)
			snprintf(minor, sizeof(minor), "%u", rules[i].minor);
		n = snprintf(text, sizeof(text), "%c %s:%s %s", rules[i].type, major, minor, rules[i].access);
		if (write(fd, text, (size_t)n) < 0)
			return fail(errno, "cgroup devices: allowing \"%s\": %s", text, strerror(errno));
	}
	return 0;
}

static struct bpf_insn load_word(unsigned int to, size_t off)
{
	return (struct bpf_insn){.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = to & 0xfu, .src_reg = BPF_REG_1,
				 .off = (int16_t)off};
}

static struct bpf_insn jump_unless_equal(unsigned int reg, uint32_t value)
{
	return (struct bpf_insn){.code = BPF_JMP32 | BPF_JNE | BPF_K, .dst_reg = reg & 0xfu, .imm = (int32_t)value};
}

static struct bpf_insn op(uint8_t code, unsigned int to, int32_t imm)
{
	return (struct bpf_insn){.code = code, .dst_reg = to & 0xfu, .imm = imm};
}

static int32_t access_bits(const char *text)
{
	return (strchr(text, 'r') ? BPF_DEVCG_ACC_READ : 0) | (strchr(text, 'w') ? BPF_DEVCG_ACC_WRITE : 0) |
	       (strchr(text, 'm') ? BPF_DEVCG_ACC_MKNOD : 0);
}

/* r2 type, r3 access, r4 major, r5 minor; each rule: when all match, return 1, else on to the next. */
static size_t assemble(struct bpf_insn *p)
{
	size_t n = 0;

	p[n++] = load_word(BPF_REG_2, offsetof(struct bpf_cgroup_dev_ctx, access_type));
	p[n++] = (struct bpf_insn){.code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = BPF_REG_3, .src_reg = BPF_REG_2};
	p[n++] = op(BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 16);
	p[n++] = op(BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0xffff);
	p[n++] = load_word(BPF_REG_4, offsetof(struct bpf_cgroup_dev_ctx, major));
	p[n++] = load_word(BPF_REG_5, offsetof(struct bpf_cgroup_dev_ctx, minor));
	for (size_t i = 0; i < N_RULES; i++) {
		size_t start = n;

		p[n++] = jump_unless_equal(BPF_REG_2, rules[i].type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK);
		if (rules[i].major != ANY)
			p[n++] = jump_unless_equal(BPF_REG_4, rules[i].major);
		if (rules[i].minor != ANY)
			p[n++] = jump_unless_equal(BPF_REG_5, rules[i].minor);
		/* access & ~allowed must be nothing */
		p[n++] = (struct bpf_insn){.code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = BPF_REG_0, .src_reg = BPF_REG_3};
		p[n++] = op(BPF_ALU | BPF_AND | BPF_K, BPF_REG_0, ~access_bits(rules[i].access) & 7);
		p[n++] = jump_unless_equal(BPF_REG_0, 0);
		p[n++] = op(BPF_ALU | BPF_MOV | BPF_K, BPF_REG_0, 1);
		p[n++] = op(BPF_JMP | BPF_EXIT, 0, 0);
		for (size_t k = start; k < n; k++)
			if (p[k].code == (BPF_JMP32 | BPF_JNE | BPF_K))
				p[k].off = (int16_t)(n - k - 1);
	}
	p[n++] = op(BPF_ALU | BPF_MOV | BPF_K, BPF_REG_0, 0);
	p[n++] = op(BPF_JMP | BPF_EXIT, 0, 0);
	return n;
}

int device_filter_v2(int dir_fd)
{
	struct bpf_insn program[8 + N_RULES * 8 + 2];
	union bpf_attr load = {0}, attach = {0};
	_cleanup_(fd_close) int fd = -1;

	load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	load.insn_cnt = (uint32_t)assemble(program);
	load.insns = (uint64_t)(uintptr_t)program;
	load.license = (uint64_t)(uintptr_t) "Apache-2.0";
	fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	if (fd < 0)
		return fail(errno, "loading the cgroup's device filter: %s", strerror(errno));
	attach.target_fd = (uint32_t)dir_fd;
	attach.attach_bpf_fd = (uint32_t)fd;
	attach.attach_type = BPF_CGROUP_DEVICE;
	attach.attach_flags = BPF_F_ALLOW_MULTI;
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)) < 0)
		return fail(errno, "attaching the cgroup's device filter: %s", strerror(errno));
	return 0;
}
