/* A table of flags, and then the words that are a language of their own. */
#include "cli/run_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"
#include "cli/command_table.h"

#define N_OWN 26

static void own_specs(struct run_options *o, bool *remove, struct option_spec ret[static N_OWN])
{
	const struct option_spec specs[N_OWN] = {
		{"env", 'e', OPTION_LIST, &o->env, "NAME=VALUE", "set a variable; NAME alone takes it from here"},
		{"env-file", 0, OPTION_LIST, &o->env_files, "FILE", "variables, one a line"},
		{"volume", 'v', OPTION_LIST, &o->volumes, "SRC:DST[:ro]", "show a host's file or directory"},
		{"workdir", 'w', OPTION_TEXT, &o->workdir, "DIR", "where the command starts"},
		{"user", 'u', OPTION_TEXT, &o->user, "USER[:GROUP]", "names of the image, or numbers"},
		{"group-add", 0, OPTION_LIST, &o->group_add, "GROUP", "one more group for the user"},
		{"entrypoint", 0, OPTION_TEXT, &o->entrypoint, "FILE", "instead of the image's; the image's CMD goes, too"},
		{"interactive", 'i', OPTION_FLAG, &o->interactive, NULL, "pass standard input on"},
		{"tty", 't', OPTION_FLAG, &o->terminal, NULL, "give it a terminal"},
		{"rm", 0, OPTION_FLAG, remove, NULL, "remove it when it ends (always so)"},
		{"read-only", 0, OPTION_FLAG, &o->read_only, NULL, "its root cannot be written"},
		{"tmpfs", 0, OPTION_LIST, &o->tmpfs, "DIR[:OPTIONS]", "an empty directory in memory"},
		{"cap-add", 0, OPTION_LIST, &o->cap_add, "CAP", "one more capability, or ALL"},
		{"cap-drop", 0, OPTION_LIST, &o->cap_drop, "CAP", "one capability less, or ALL"},
		{"security-opt", 0, OPTION_LIST, &o->security, "OPT", "seccomp=unconfined, seccomp=FILE, no-new-privileges"},
		{"hostname", 'h', OPTION_TEXT, &o->hostname, "NAME", "its host name"},
		{"network", 0, OPTION_TEXT, &o->network, "host|none", "the host's network (default), or none"},
		{"net", 0, OPTION_TEXT, &o->network, "host|none", "the same"},
		{"cgroups", 0, OPTION_TEXT, &o->cgroups, "enabled|disabled", "a cgroup of its own (default), or ours"},
		{"init", 0, OPTION_FLAG, &o->init, NULL, "a small process 1 that reaps and passes signals"},
		{"ulimit", 0, OPTION_LIST, &o->ulimits, "NAME=SOFT[:HARD]", "a resource limit: nofile=1024"},
		{"shm-size", 0, OPTION_TEXT, &o->shm_size_text, "SIZE", "of /dev/shm; 64m when not given"},
		{"privileged", 0, OPTION_FLAG, &o->privileged, NULL, "not yet"},
		{"name", 0, OPTION_TEXT, &o->name, "NAME", "its host name, when --hostname is not given"},
		{"upper", 0, OPTION_TEXT, &o->upper, "DIR", "keep what it writes, in DIR/upper"},
		{NULL, 0, OPTION_FLAG, NULL, NULL, NULL},
	};

	memcpy(ret, specs, sizeof(specs));
}

int run_options_size(const char *flag, const char *text, uint64_t *ret)
{
	static const char units[] = "bkmgt";
	unsigned long long n;
	const char *unit;
	uint64_t size;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end | 0x20) : units;
	if (errno || end == text || text[0] == '-' || !unit || (*end && end[1] && strcasecmp(end + 1, "b") != 0) ||
	    __builtin_mul_overflow((uint64_t)n, UINT64_C(1) << 10 * (unit - units), &size))
		return fail(EINVAL, "run: %s %s: it is a number of bytes with an optional k, m or g: 64m", flag, text);
	*ret = size;
	return 0;
}

/* "no-new-privileges", "seccomp=...", "apparmor=...", "label=..."; docker takes ':' for '=' as well. */
static int read_security(struct run_options *o, const char *text)
{
	size_t n = strcspn(text, "=:");
	const char *value = text[n] ? text + n + 1 : "";

	if (n == 17 && strncmp(text, "no-new-privileges", n) == 0) {
		if (*value && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
			return fail(EINVAL, "run: --security-opt %s: it is either =true or =false", text);
		o->no_new_privileges = strcmp(value, "false") != 0;
		return 0;
	}
	if (n == 7 && strncmp(text, "seccomp", n) == 0 && *value) {
		o->seccomp_unconfined = strcmp(value, "unconfined") == 0;
		o->seccomp_profile =
			o->seccomp_unconfined || strcmp(value, "builtin") == 0 || strcmp(value, "default") == 0 ? NULL : value;
		return 0;
	}
	if ((n == 8 && strncmp(text, "apparmor", n) == 0) || (n == 5 && strncmp(text, "label", n) == 0)) {
		if (strcmp(value, "unconfined") != 0 && strcmp(value, "disable") != 0)
			report_note("run: --security-opt %s has no effect: lazyrun does not use %.*s yet", text,
				    n == 8 ? 8 : 7, n == 8 ? "AppArmor" : "SELinux");
		return 0;
	}
	return fail(EINVAL, "run: --security-opt %s: there is seccomp=unconfined, seccomp=FILE and no-new-privileges", text);
}

static int check_network(struct run_options *o)
{
	if (!o->network || strcmp(o->network, "host") == 0)
		return 0;
	if (strcmp(o->network, "none") == 0) {
		o->own_network = true;
		return 0;
	}
	return fail(EOPNOTSUPP, "run: --network %s: there is host and none; others: not yet", o->network);
}

static int check_cgroups(struct run_options *o)
{
	if (!o->cgroups || strcmp(o->cgroups, "enabled") == 0)
		return 0;
	o->no_cgroup = strcmp(o->cgroups, "disabled") == 0;
	return o->no_cgroup ? 0 : fail(EINVAL, "run: --cgroups %s: there is enabled and disabled", o->cgroups);
}

static bool is_host_name(const char *text)
{
	size_t n = strlen(text);

	return n > 0 && n <= 63 && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == n;
}

static int check(struct run_options *o)
{
	int r = check_network(o);

	if (r == 0)
		r = check_cgroups(o);
	for (size_t i = 0; i < o->security.n_texts && r == 0; i++)
		r = read_security(o, o->security.texts[i]);
	if (r < 0)
		return r;
	if (o->privileged)
		return fail(EOPNOTSUPP, "run: --privileged: not yet; --cap-add ALL with --security-opt seccomp=unconfined "
					"is the part of it that there is");
	if (!o->hostname)
		o->hostname = o->name;
	if (o->hostname && !is_host_name(o->hostname))
		return fail(EINVAL, "run: \"%s\" is no host name: letters, digits, '-', '_' and '.', at most 63", o->hostname);
	if (o->workdir && o->workdir[0] != '/')
		return fail(EINVAL, "run: --workdir %s: it must be an absolute path in the container", o->workdir);
	if (o->shm_size_text)
		return run_options_size("--shm-size", o->shm_size_text, &o->shm_size);
	return 0;
}

int run_options_parse(int argc, char **argv, struct run_options *ret)
{
	struct run_options o = {.shm_size = 64 << 20};
	struct option_spec specs[ENSURE_N_OPTIONS + N_OWN];
	const struct option_rules rules = {"run", specs, 1, -1, true};
	struct options_result result;
	bool remove = true;
	int r;

	ensure_option_specs(&o.ensure, specs);
	own_specs(&o, &remove, specs + ENSURE_N_OPTIONS);
	r = command_options(&rules, argc, argv, &result);
	if (r == 0) {
		o.ensure.image = result.operands[0];
		o.command = result.operands + 1;
		o.ensure.command = o.command;
		o.ensure.start = true;
		o.ensure.entrypoint = o.entrypoint;
		if (!remove)
			report_note("run: --rm=false has no effect yet: a container is removed when it ends");
		r = check(&o);
	}
	if (r != 0) {
		run_options_free(&o);
		return r;
	}
	/* A terminal on both ends and nothing said: the user wants to sit in it. */
	if (!o.command[0] && !o.terminal && !o.interactive && !o.entrypoint && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
		o.terminal = o.interactive = true;
	*ret = o;
	return 0;
}

void run_options_free(struct run_options *o)
{
	option_list_free(&o->env);
	option_list_free(&o->env_files);
	option_list_free(&o->volumes);
	option_list_free(&o->tmpfs);
	option_list_free(&o->cap_add);
	option_list_free(&o->cap_drop);
	option_list_free(&o->security);
	option_list_free(&o->group_add);
	option_list_free(&o->ulimits);
}
