/* seccomp_profile: what a profile allows is what its program allows; the program is run here, instruction by
 * instruction, as the kernel would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours reports */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>

#include "base/limits.h"
#include "base/report.h"
#include "runtime/caps.h"
#include "runtime/seccomp.h"
#include "runtime/seccomp_profile.h"

/* The classic BPF that libseccomp makes: loads of struct seccomp_data, jumps, and, return. */
static uint32_t run_program(const struct sock_filter *p, size_t n, const struct seccomp_data *d)
{
	uint32_t a = 0, x = 0, memory[BPF_MEMWORDS] = {0};

	for (size_t i = 0; i < n; i++) {
		const struct sock_filter *f = &p[i];

		switch (f->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(f->k <= sizeof(*d) - 4);
			memcpy(&a, (const char *)d + f->k, 4);
			break;
		case BPF_LD | BPF_W | BPF_MEM:
			a = memory[f->k];
			break;
		case BPF_ST:
			memory[f->k] = a;
			break;
		case BPF_MISC | BPF_TAX:
			x = a;
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= f->k;
			break;
		case BPF_JMP | BPF_JA:
			i += f->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			i += a == f->k ? f->jt : f->jf;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			i += a > f->k ? f->jt : f->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			i += a >= f->k ? f->jt : f->jf;
			break;
		case BPF_RET | BPF_K:
			return f->k;
		default:
			assert_int_equal(f->code, -1); /* an instruction that no filter needs */
		}
	}
	(void)x;
	assert_int_equal(n, -1); /* no return was reached */
	return 0;
}

static struct seccomp_data call(const char *name, uint64_t first, uint64_t second, uint64_t third)
{
	int number = seccomp_syscall_resolve_name(name);

	assert_true(number >= 0);
	return (struct seccomp_data){.nr = number, .arch = seccomp_arch_native(), .args = {first, second, third}};
}

static uint32_t judge(const struct config_seccomp *s, struct seccomp_data d)
{
	return run_program(s->program, s->size / sizeof(struct sock_filter), &d);
}

static int compile(const char *text, size_t size, uint64_t caps, struct config_seccomp *ret)
{
	char said[REPORT_TEXT_SIZE];
	struct bytes program = {0};
	int r;

	report_capture(said);
	r = seccomp_profile_compile(text, size, "test", caps, &program, &ret->flags);
	report_capture(NULL);
	if (r < 0)
		assert_string_not_equal(said, "");
	ret->program = program.data;
	ret->size = program.size;
	ret->owned = program;
	return r;
}

#define ALLOW SECCOMP_RET_ALLOW
#define REFUSE(e) (SECCOMP_RET_ERRNO | (e))

static void default_program_is_dockers(void **state)
{
	struct config_seccomp s = {0};

	(void)state;
	assert_int_equal(seccomp_prepare(NULL, CAPS_DEFAULT, -1, &s), 0);
	assert_null(s.owned.data); /* built in: nothing was compiled */
	assert_int_equal(judge(&s, call("read", 0, 0, 0)), ALLOW);
	assert_int_equal(judge(&s, call("execve", 0, 0, 0)), ALLOW);
	assert_int_equal(judge(&s, call("chroot", 0, 0, 0)), ALLOW); /* CAP_SYS_CHROOT is among the default ones */
	assert_int_equal(judge(&s, call("bpf", 0, 0, 0)), REFUSE(EPERM));
	assert_int_equal(judge(&s, call("init_module", 0, 0, 0)), REFUSE(EPERM));
	assert_int_equal(judge(&s, call("settimeofday", 0, 0, 0)), REFUSE(EPERM));
	assert_int_equal(judge(&s, call("personality", 0, 0, 0)), ALLOW);
	assert_int_equal(judge(&s, call("personality", 1, 0, 0)) & SECCOMP_RET_ACTION_FULL, SECCOMP_RET_ERRNO);
	assert_int_equal(judge(&s, (struct seccomp_data){.nr = 9999, .arch = seccomp_arch_native()}), REFUSE(ENOSYS));
	assert_int_not_equal(judge(&s, (struct seccomp_data){.nr = 0, .arch = AUDIT_ARCH_ALPHA}), ALLOW);
}

static void capabilities_open_what_they_are_for(void **state)
{
	struct config_seccomp s = {0};

	(void)state;
	assert_int_equal(seccomp_prepare(NULL, CAPS_DEFAULT | CAPS_BIT(CAP_SYS_ADMIN), -1, &s), 0);
	assert_int_equal(judge(&s, call("bpf", 0, 0, 0)), ALLOW);
	assert_int_equal(judge(&s, call("init_module", 0, 0, 0)), REFUSE(EPERM));
	bytes_free(&s.owned);
}

static void rules_mean_what_they_say(void **state)
{
	static const char text[] =
		"{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"defaultErrnoRet\": 38, \"flags\": [\"SECCOMP_FILTER_FLAG_LOG\"],"
		"\"syscalls\": ["
		"{\"names\": [\"read\", \"no_such_call\"], \"action\": \"SCMP_ACT_ALLOW\"},"
		"{\"name\": \"write\", \"action\": \"SCMP_ACT_ALLOW\", \"args\": [{\"index\": 0, \"value\": 1, \"op\": \"SCMP_CMP_EQ\"}]},"
		"{\"names\": [\"socket\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\": [" /* twice the same argument: either */
		"{\"index\": 0, \"value\": 1, \"op\": \"SCMP_CMP_EQ\"}, {\"index\": 0, \"value\": 2, \"op\": \"SCMP_CMP_EQ\"}]},"
		"{\"names\": [\"clone\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\": ["
		"{\"index\": 0, \"value\": 2114060288, \"valueTwo\": 0, \"op\": \"SCMP_CMP_MASKED_EQ\"}]},"
		"{\"names\": [\"mount\"], \"action\": \"SCMP_ACT_ALLOW\", \"includes\": {\"caps\": [\"CAP_SYS_ADMIN\"]}},"
		"{\"names\": [\"mount\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 1, \"excludes\": {\"caps\": [\"CAP_SYS_ADMIN\"]}},"
		"{\"names\": [\"reboot\"], \"action\": \"SCMP_ACT_ALLOW\", \"includes\": {\"minKernel\": \"99.0\"}},"
		"{\"names\": [\"sync\"], \"action\": \"SCMP_ACT_ALLOW\", \"includes\": {\"minKernel\": \"4.8\"}},"
		"{\"names\": [\"getpid\"], \"action\": \"SCMP_ACT_ALLOW\", \"includes\": {\"arches\": [\"no-machine\"]}},"
		"{\"names\": [\"kill\"], \"action\": \"SCMP_ACT_KILL_PROCESS\"}]}";
	struct config_seccomp s = {0};

	(void)state;
	assert_int_equal(compile(text, strlen(text), 0, &s), 0);
	assert_int_equal(s.flags, SECCOMP_FILTER_FLAG_LOG);
	assert_int_equal(judge(&s, call("read", 0, 0, 0)), ALLOW);
	assert_int_equal(judge(&s, call("write", 1, 0, 0)), ALLOW);
	assert_int_equal(judge(&s, call("write", 2, 0, 0)), REFUSE(38));
	assert_int_equal(judge(&s, call("socket", 1, 0, 0)), ALLOW);
	assert_int_equal(judge(&s, call("socket", 2, 0, 0)), ALLOW);
	assert_int_equal(judge(&s, call("socket", 3, 0, 0)), REFUSE(38));
	assert_int_equal(judge(&s, call("clone", 0x11, 0, 0)), ALLOW);
	assert_int_equal(judge(&s, call("clone", 0x10000000, 0, 0)), REFUSE(38)); /* CLONE_NEWUSER */
	assert_int_equal(judge(&s, call("mount", 0, 0, 0)), REFUSE(1));
	assert_int_equal(judge(&s, call("reboot", 0, 0, 0)), REFUSE(38));
	assert_int_equal(judge(&s, call("sync", 0, 0, 0)), ALLOW);
	assert_int_equal(judge(&s, call("getpid", 0, 0, 0)), REFUSE(38));
	assert_int_equal(judge(&s, call("kill", 0, 0, 0)), SECCOMP_RET_KILL_PROCESS);
	bytes_free(&s.owned);
	assert_int_equal(compile(text, strlen(text), CAPS_BIT(CAP_SYS_ADMIN), &s), 0);
	assert_int_equal(judge(&s, call("mount", 0, 0, 0)), ALLOW);
	bytes_free(&s.owned);
}

static void refuses_what_is_no_profile(void **state)
{
	static const struct {
		const char *text;
		int error;
	} cases[] = {
		{"", -EBADMSG},
		{"[]", -EBADMSG},
		{"{}", -EBADMSG},
		{"{\"defaultAction\": 1}", -EBADMSG},
		{"{\"defaultAction\": \"SCMP_ACT_NONSENSE\"}", -EBADMSG},
		{"{\"defaultAction\": \"SCMP_ACT_NOTIFY\"}", -EOPNOTSUPP},
		{"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"defaultErrnoRet\": 65536}", -EBADMSG},
		{"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"flags\": [\"x\"]}", -EBADMSG},
		{"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"architectures\": [\"x\"]}", -EBADMSG},
		{"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": {}}", -EBADMSG},
		{"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [1]}", -EBADMSG},
		{"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"action\": \"SCMP_ACT_KILL\"}]}", -EBADMSG},
		{"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [1], \"action\": \"SCMP_ACT_KILL\"}]}", -EBADMSG},
		{"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"read\"], \"action\": \"SCMP_ACT_KILL\","
		 "\"args\": [{\"index\": 6, \"value\": 0, \"op\": \"SCMP_CMP_EQ\"}]}]}", -EBADMSG},
		{"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"read\"], \"action\": \"SCMP_ACT_KILL\","
		 "\"args\": [{\"index\": 0, \"value\": 0, \"op\": \"x\"}]}]}", -EBADMSG},
	};
	struct config_seccomp s = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(compile(cases[i].text, strlen(cases[i].text), 0, &s), cases[i].error);
}

static void limits_size_and_rules(void **state)
{
	struct config_seccomp s = {0};
	struct bytes b = {0};

	(void)state;
	assert_int_equal(bytes_printf(&b, "{\"defaultAction\":\"SCMP_ACT_KILL\",\"syscalls\":[{\"action\":\"SCMP_ACT_ALLOW\",\"names\":[\"read\""), 0);
	for (unsigned int i = 1; i < LIMIT_SECCOMP_RULES; i++)
		assert_int_equal(bytes_printf(&b, ",\"read\""), 0);
	size_t size = b.size;
	assert_int_equal(bytes_printf(&b, "]}]}"), 0);
	assert_int_equal(compile((const char *)b.data, b.size, 0, &s), 0);
	bytes_free(&s.owned);
	b.size = size;
	assert_int_equal(bytes_printf(&b, ",\"read\"]}]}"), 0);
	assert_int_equal(compile((const char *)b.data, b.size, 0, &s), -EFBIG);
	assert_int_equal(bytes_reserve(&b, LIMIT_SECCOMP_SIZE), 0);
	memset(b.data + b.size, ' ', LIMIT_SECCOMP_SIZE - b.size + 1);
	assert_int_equal(compile((const char *)b.data, LIMIT_SECCOMP_SIZE + 1, 0, &s), -EFBIG);
	bytes_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(default_program_is_dockers),
		cmocka_unit_test(capabilities_open_what_they_are_for),
		cmocka_unit_test(rules_mean_what_they_say),
		cmocka_unit_test(refuses_what_is_no_profile),
		cmocka_unit_test(limits_size_and_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
