/* run_options: the flags of `lazyrun run`, as docker run has them, checked as far as they can be without the image.
 *
 * Ownership  run_options_parse() fills a struct that run_options_free() ends. Texts point into argv.
 * Units      Bytes for sizes.
 * Errors     -EINVAL and -EOPNOTSUPP ("not yet"), reported with what to write instead.
 * Threads    Any.
 * Source     docker run's reference page.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/ensure.h"
#include "cli/options.h"

struct run_options {
	struct ensure_options ensure; /* image, --platform, --pull, --authfile, ... */
	char **command;		      /* behind the image; NULL-terminated, may be empty */
	struct option_list env, env_files, volumes, tmpfs, cap_add, cap_drop, security, group_add, ulimits;
	const char *workdir, *user, *entrypoint, *hostname, *name, *network, *cgroups, *shm_size_text, *upper;
	bool interactive, terminal, remove, read_only, init, privileged;
	bool own_network;   /* --net=none */
	bool no_cgroup;	    /* --cgroups=disabled */
	uint64_t shm_size;
	/* of --security-opt */
	bool no_new_privileges, seccomp_unconfined;
	const char *seccomp_profile; /* a file, or NULL: the default */
};

/* 1: the help was printed. */
int run_options_parse(int argc, char **argv, struct run_options *ret);
void run_options_free(struct run_options *o);

/* "64m", "1g", "4096": bytes. */
int run_options_size(const char *flag, const char *text, uint64_t *ret);
