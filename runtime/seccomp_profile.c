/* Rules are checked into plain structs first; libseccomp then sees only what was understood. */
#include "runtime/seccomp_profile.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"

/* What a profile may depend on. */
struct surroundings {
	const char *arch; /* as docker calls this machine */
	uint64_t caps;
	unsigned int kernel_major, kernel_minor;
};

struct compiler {
	const char *name;
	struct surroundings here;
	scmp_filter_ctx context; /* NULL: check only */
	uint32_t default_action;
	size_t n_rules;
};

static int bad(const struct compiler *c, const char *what)
{
	return fail(EBADMSG, "seccomp profile %s: %s", c->name, what);
}

static const struct {
	const char *docker;
	const char *scmp;
	uint32_t token;
} arches[] = {
	{"amd64", "SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
	{"x86", "SCMP_ARCH_X86", SCMP_ARCH_X86},
	{"x32", "SCMP_ARCH_X32", SCMP_ARCH_X32},
	{"arm64", "SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},
	{"arm", "SCMP_ARCH_ARM", SCMP_ARCH_ARM},
	{"ppc64le", "SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},
	{"ppc64", "SCMP_ARCH_PPC64", SCMP_ARCH_PPC64},
	{"ppc", "SCMP_ARCH_PPC", SCMP_ARCH_PPC},
	{"s390x", "SCMP_ARCH_S390X", SCMP_ARCH_S390X},
	{"s390", "SCMP_ARCH_S390", SCMP_ARCH_S390},
	{"riscv64", "SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64},
	{"mips", "SCMP_ARCH_MIPS", SCMP_ARCH_MIPS},
	{"mips64", "SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},
	{"mips64n32", "SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32},
	{"mipsel", "SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL},
	{"mipsel64", "SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64},
	{"mipsel64n32", "SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32},
	{"parisc", "SCMP_ARCH_PARISC", SCMP_ARCH_PARISC},
	{"parisc64", "SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64},
};

static bool find_arch(const char *scmp, uint32_t *ret)
{
	for (size_t i = 0; i < sizeof(arches) / sizeof(arches[0]); i++)
		if (strcmp(arches[i].scmp, scmp) == 0) {
			*ret = arches[i].token;
			return true;
		}
	return false;
}

static const char *native_arch(void)
{
	for (size_t i = 0; i < sizeof(arches) / sizeof(arches[0]); i++)
		if (arches[i].token == seccomp_arch_native())
			return arches[i].docker;
	return "";
}

static int find_action(const struct compiler *c, const char *text, uint32_t error, uint32_t *ret)
{
	static const struct {
		const char *name;
		uint32_t value;
	} plain[] = {
		{"SCMP_ACT_KILL", SCMP_ACT_KILL},
		{"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
		{"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
		{"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
		{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
		{"SCMP_ACT_LOG", SCMP_ACT_LOG},
	};

	if (strcmp(text, "SCMP_ACT_NOTIFY") == 0)
		return fail(EOPNOTSUPP, "seccomp profile %s: SCMP_ACT_NOTIFY needs a listener, which this "
					"command does not have", c->name);
	if (strcmp(text, "SCMP_ACT_ERRNO") == 0)
		*ret = SCMP_ACT_ERRNO(error);
	else if (strcmp(text, "SCMP_ACT_TRACE") == 0)
		*ret = SCMP_ACT_TRACE(error);
	else {
		for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
			if (strcmp(plain[i].name, text) == 0) {
				*ret = plain[i].value;
				return 0;
			}
		return bad(c, "it names an unknown action");
	}
	return 0;
}

/* The error number that an ERRNO or TRACE action returns; EPERM when the profile is silent. */
static int read_error(const struct compiler *c, const struct json_object *o, const char *key, uint32_t *ret)
{
	uint64_t v;
	int r = json_field_u64(o, key, &v);

	if (r == -ENOENT)
		v = EPERM;
	else if (r < 0 || v > UINT16_MAX)
		return bad(c, "an error number is no number below 65536");
	*ret = (uint32_t)v;
	return 0;
}

static int element_string(const struct compiler *c, struct json_object *array, size_t i, const char **ret)
{
	struct json_object *o = json_object_array_get_idx(array, i);

	if (!json_object_is_type(o, json_type_string) ||
	    strlen(json_object_get_string(o)) != (size_t)json_object_get_string_len(o))
		return bad(c, "a list of names holds something else");
	*ret = json_object_get_string(o);
	return 0;
}

static bool kernel_at_least(const struct surroundings *h, const char *text)
{
	unsigned int major, minor;

	if (sscanf(text, "%u.%u", &major, &minor) != 2)
		return false;
	return h->kernel_major > major || (h->kernel_major == major && h->kernel_minor >= minor);
}

/* *ret_all: every condition of "includes" holds. *ret_any: at least one of "excludes" does. */
static int read_conditions(const struct compiler *c, const struct json_object *rule, const char *key,
			   bool *ret_all, bool *ret_any)
{
	struct json_object *o, *list;
	const char *text;
	size_t n;
	int r = json_field_object(rule, key, &o);

	*ret_all = true;
	*ret_any = false;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return bad(c, "includes or excludes is no object");
	r = json_field_array(o, "caps", &list, &n);
	if (r < 0 && r != -ENOENT)
		return bad(c, "caps is no list");
	for (size_t i = 0; r == 0 && i < n; i++) {
		cap_value_t cap;
		bool has;

		if (element_string(c, list, i, &text) < 0)
			return -EBADMSG;
		has = cap_from_name(text, &cap) == 0 && cap < 64 && (c->here.caps >> cap & 1);
		*ret_all = *ret_all && has;
		*ret_any = *ret_any || has;
	}
	r = json_field_array(o, "arches", &list, &n);
	if (r < 0 && r != -ENOENT)
		return bad(c, "arches is no list");
	if (r == 0 && n > 0) {
		bool has = false;

		for (size_t i = 0; i < n; i++) {
			if (element_string(c, list, i, &text) < 0)
				return -EBADMSG;
			has = has || strcmp(text, c->here.arch) == 0;
		}
		*ret_all = *ret_all && has;
		*ret_any = *ret_any || has;
	}
	r = json_field_string(o, "minKernel", &text);
	if (r < 0 && r != -ENOENT)
		return bad(c, "minKernel is no text");
	if (r == 0 && *text) {
		*ret_all = *ret_all && kernel_at_least(&c->here, text);
		*ret_any = *ret_any || kernel_at_least(&c->here, text);
	}
	return 0;
}

static int read_compare(const struct compiler *c, struct json_object *o, struct scmp_arg_cmp *ret)
{
	static const struct {
		const char *name;
		enum scmp_compare op;
	} ops[] = {
		{"SCMP_CMP_NE", SCMP_CMP_NE}, {"SCMP_CMP_LT", SCMP_CMP_LT}, {"SCMP_CMP_LE", SCMP_CMP_LE},
		{"SCMP_CMP_EQ", SCMP_CMP_EQ}, {"SCMP_CMP_GE", SCMP_CMP_GE}, {"SCMP_CMP_GT", SCMP_CMP_GT},
		{"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
	};
	uint64_t index, value, second = 0;
	const char *op;
	int r;

	if (!json_object_is_type(o, json_type_object) || json_field_u64(o, "index", &index) < 0 || index > 5 ||
	    json_field_u64(o, "value", &value) < 0 || json_field_string(o, "op", &op) < 0)
		return bad(c, "an argument has no index below 6, value or op");
	r = json_field_u64(o, "valueTwo", &second);
	if (r < 0 && r != -ENOENT)
		return bad(c, "valueTwo is no number");
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (strcmp(ops[i].name, op) == 0) {
			*ret = (struct scmp_arg_cmp){(unsigned int)index, ops[i].op, value, second};
			return 0;
		}
	return bad(c, "an argument has an unknown op");
}

/* libseccomp allows an argument once in a rule; a profile that names it twice means "or" (runc). */
static int add_rule(struct compiler *c, uint32_t action, const char *name, const struct scmp_arg_cmp *args,
		    unsigned int n_args)
{
	bool seen[6] = {false}, twice = false;
	int number, r = 0;

	if (++c->n_rules > LIMIT_SECCOMP_RULES)
		return fail(EFBIG, "seccomp profile %s: it has more than %u rules", c->name, LIMIT_SECCOMP_RULES);
	number = seccomp_syscall_resolve_name(name);
	if (number == __NR_SCMP_ERROR || action == c->default_action || !c->context)
		return 0; /* a system call that this libseccomp does not know falls to the default */
	for (unsigned int i = 0; i < n_args; i++) {
		twice = twice || seen[args[i].arg];
		seen[args[i].arg] = true;
	}
	if (!twice)
		r = seccomp_rule_add_array(c->context, action, number, n_args, args);
	for (unsigned int i = 0; twice && i < n_args && r == 0; i++)
		r = seccomp_rule_add_array(c->context, action, number, 1, args + i);
	if (r < 0 && r != -EEXIST)
		return fail(-r, "seccomp profile %s: the rule for %s: %s", c->name, name, strerror(-r));
	return 0;
}

static int read_args(const struct compiler *c, const struct json_object *rule, struct scmp_arg_cmp args[6],
		     unsigned int *ret_n)
{
	struct json_object *list;
	size_t n = 0;
	int r = json_field_array(rule, "args", &list, &n);

	if (r == -ENOENT)
		n = 0;
	else if (r < 0 || n > 6)
		return bad(c, "args is no list of at most six");
	for (size_t i = 0; i < n; i++) {
		r = read_compare(c, json_object_array_get_idx(list, i), &args[i]);
		if (r < 0)
			return r;
	}
	*ret_n = (unsigned int)n;
	return 0;
}

static int read_rule(struct compiler *c, struct json_object *rule)
{
	struct json_object *names = NULL;
	struct scmp_arg_cmp args[6];
	const char *text, *action_name;
	uint32_t action = 0, error;
	bool all, any, unused;
	unsigned int n_args = 0;
	size_t n = 0;
	int r;

	if (!json_object_is_type(rule, json_type_object))
		return bad(c, "a rule is no object");
	if (json_field_string(rule, "action", &action_name) < 0)
		return bad(c, "a rule has no action");
	if (read_conditions(c, rule, "includes", &all, &unused) < 0 ||
	    read_conditions(c, rule, "excludes", &unused, &any) < 0)
		return -EBADMSG;
	r = read_error(c, rule, "errnoRet", &error);
	if (r == 0)
		r = read_args(c, rule, args, &n_args);
	if (r < 0)
		return r;
	if (all && !any) {
		r = find_action(c, action_name, error, &action);
		if (r < 0)
			return r;
	}
	r = json_field_string(rule, "name", &text);
	if (r == 0 && all && !any)
		return add_rule(c, action, text, args, n_args);
	if (r < 0 && (r != -ENOENT || json_field_array(rule, "names", &names, &n) < 0))
		return bad(c, "a rule has no names");
	for (size_t i = 0; i < n; i++) {
		r = element_string(c, names, i, &text);
		if (r == 0 && all && !any)
			r = add_rule(c, action, text, args, n_args);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_arch(struct compiler *c, const char *scmp)
{
	uint32_t token;
	int r;

	if (!find_arch(scmp, &token))
		return bad(c, "it names an unknown architecture");
	if (!c->context || token == seccomp_arch_native())
		return 0;
	r = seccomp_arch_add(c->context, token);
	/* -EINVAL or -EDOM: of the other byte order, so it cannot run here */
	return r < 0 && r != -EEXIST && r != -EINVAL && r != -EDOM
		       ? fail(-r, "seccomp profile %s: %s: %s", c->name, scmp, strerror(-r))
		       : 0;
}

/* One machine of "archMap": its sub-architectures count when the machine is ours. */
static int read_arch_map(struct compiler *c, struct json_object *o)
{
	struct json_object *subs;
	const char *text;
	uint32_t token;
	size_t n;
	int r;

	if (!json_object_is_type(o, json_type_object) || json_field_string(o, "architecture", &text) < 0)
		return bad(c, "archMap holds something without architecture");
	if (!find_arch(text, &token) || token != seccomp_arch_native())
		return 0;
	r = json_field_array(o, "subArchitectures", &subs, &n);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return bad(c, "subArchitectures is no list");
	for (size_t i = 0; i < n; i++) {
		r = element_string(c, subs, i, &text);
		if (r == 0)
			r = add_arch(c, text);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_arches(struct compiler *c, const struct json_object *o)
{
	struct json_object *list;
	const char *text;
	size_t n;
	int r = json_field_array(o, "archMap", &list, &n);

	if (r < 0 && r != -ENOENT)
		return bad(c, "archMap is no list");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_arch_map(c, json_object_array_get_idx(list, i));
	if (r < 0 && r != -ENOENT)
		return r;
	r = json_field_array(o, "architectures", &list, &n);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return bad(c, "architectures is no list");
	for (size_t i = 0; i < n; i++) {
		r = element_string(c, list, i, &text);
		if (r == 0)
			r = add_arch(c, text);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_flags(const struct compiler *c, const struct json_object *o, uint32_t *ret)
{
	static const struct {
		const char *name;
		uint32_t flag;
	} known[] = {
		{"SECCOMP_FILTER_FLAG_TSYNC", 0}, /* init has one thread */
		{"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
		{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	};
	struct json_object *list;
	const char *text;
	size_t n;
	int r = json_field_array(o, "flags", &list, &n);

	*ret = 0;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return bad(c, "flags is no list");
	for (size_t i = 0; i < n; i++) {
		bool found = false;

		if (element_string(c, list, i, &text) < 0)
			return -EBADMSG;
		for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
			if (strcmp(known[k].name, text) == 0) {
				*ret |= known[k].flag;
				found = true;
			}
		if (!found)
			return bad(c, "it names an unknown flag");
	}
	return 0;
}

static int read_profile(struct compiler *c, const struct json_object *o, bool compile, uint32_t *ret_flags)
{
	struct json_object *rules;
	const char *action;
	uint32_t error;
	size_t n;
	int r;

	if (!json_object_is_type(o, json_type_object) || json_field_string(o, "defaultAction", &action) < 0)
		return bad(c, "it has no defaultAction");
	r = read_error(c, o, "defaultErrnoRet", &error);
	if (r == 0)
		r = find_action(c, action, error, &c->default_action);
	if (r == 0)
		r = read_flags(c, o, ret_flags);
	if (r < 0)
		return r;
	if (compile) {
		c->context = seccomp_init(c->default_action);
		if (!c->context)
			return bad(c, "libseccomp refuses its defaultAction");
		seccomp_attr_set(c->context, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
		seccomp_attr_set(c->context, SCMP_FLTATR_CTL_NNP, 0);
	}
	r = read_arches(c, o);
	if (r < 0)
		return r;
	r = json_field_array(o, "syscalls", &rules, &n);
	if (r == -ENOENT)
		return 0;
	if (r < 0 || n > LIMIT_SECCOMP_RULES)
		return bad(c, "syscalls is no list, or too long a one");
	for (size_t i = 0; i < n; i++) {
		r = read_rule(c, json_object_array_get_idx(rules, i));
		if (r < 0)
			return r;
	}
	return 0;
}

static int export_program(const struct compiler *c, struct bytes *ret)
{
	_cleanup_(fd_close) int fd = memfd_create("seccomp", MFD_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0)
		return fail(errno, "memfd_create: %s", strerror(errno));
	r = seccomp_export_bpf(c->context, fd);
	if (r < 0)
		return fail(-r, "seccomp profile %s: libseccomp cannot compile it: %s", c->name, strerror(-r));
	if (fstat(fd, &st) < 0 || bytes_reserve(ret, (size_t)st.st_size) < 0)
		return fail(ENOMEM, "seccomp profile %s: out of memory", c->name);
	r = fd_pread_full(fd, ret->data + ret->size, (size_t)st.st_size, 0);
	if (r < 0)
		return fail(-r, "seccomp profile %s: %s", c->name, strerror(-r));
	ret->size += (size_t)st.st_size;
	return 0;
}

static int run(const void *text, size_t size, struct compiler *c, bool compile, uint32_t *ret_flags)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	struct utsname u;

	if (size > LIMIT_SECCOMP_SIZE)
		return fail(EFBIG, "seccomp profile %s: larger than %u bytes", c->name, LIMIT_SECCOMP_SIZE);
	if (json_field_parse(text, size, &o) < 0)
		return bad(c, "it is not JSON");
	c->here.arch = native_arch();
	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &c->here.kernel_major, &c->here.kernel_minor) != 2)
		c->here.kernel_major = c->here.kernel_minor = 0;
	return read_profile(c, o, compile, ret_flags);
}

int seccomp_profile_compile(const void *text, size_t size, const char *name, uint64_t caps,
			    struct bytes *ret_program, uint32_t *ret_flags)
{
	struct compiler c = {.name = name, .here.caps = caps};
	int r = run(text, size, &c, true, ret_flags);

	if (r == 0)
		r = export_program(&c, ret_program);
	if (c.context)
		seccomp_release(c.context);
	return r;
}

int seccomp_profile_check(const void *text, size_t size, const char *name)
{
	struct compiler c = {.name = name};
	uint32_t flags;

	return run(text, size, &c, false, &flags);
}
