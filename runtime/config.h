/* config: what a container is to be, in the words of the OCI runtime-spec, checked.
 *
 * Ownership  Every pointer and descriptor belongs to the config; config_free() ends them. Arrays of
 *            strings end with NULL. An all-zero struct after config_init() is a valid empty config.
 * Units      uids and gids are numbers inside the container. Capability sets have bit n for capability n.
 * Errors     -ENOMEM; -EINVAL (reported) for what the user wrote.
 * Threads    A plain value; only read once a container is made from it.
 * Source     runtime-spec 1.3 config.md, config-linux.md; docker's default lists.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"

struct config_mount {
	char *type;	   /* "bind", "tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup" */
	char *source;	   /* of a bind: a path on the host; NULL with tree_fd */
	int tree_fd;	   /* of a bind: already a detached mount; -1 with source */
	char *destination; /* absolute, in the container */
	char *data;	   /* options of the file system, comma separated, or NULL */
	uint64_t attributes; /* MOUNT_ATTR_*, set */
	bool recursive;	   /* of a bind: with the mounts below source */
	bool file;	   /* of a bind of a file: what to make as a target */
	bool optional;	   /* goes missing silently where the kernel has no such file system */
	bool early;	   /* made before the container's own, perhaps beforehand (stage.h): needs nothing of its process */
};

struct config_rlimit {
	int resource; /* RLIMIT_* */
	uint64_t soft, hard;
};

struct config_capabilities {
	uint64_t bounding, effective, permitted, inheritable, ambient;
};

/* A BPF program for seccomp(2); NULL: none. */
struct config_seccomp {
	const void *program; /* array of struct sock_filter */
	size_t size;	     /* bytes */
	uint32_t flags;
	struct bytes owned; /* where the program lies when it was compiled at run time */
};

/* The root as an overlay of ours; not used when rootfs is set. */
struct config_overlay {
	char **lowers; /* paths on the host, topmost first */
	char *upper, *work;
	bool keep_upper; /* the upper directory outlives the container, so its writes must be synced */
};

struct config {
	/* process */
	char **args;
	char **env;
	char *cwd;
	uint32_t uid, gid;
	uint32_t *groups;
	size_t n_groups;
	char *user; /* not NULL: init looks up uid, gid, groups and HOME in the root's files (user.h) */
	char **more_groups; /* for user */
	mode_t umask;
	bool terminal;
	bool interactive; /* with a terminal: our standard input goes to it */
	bool init;	  /* a reaper of ours is process 1 and the command its child */
	struct config_capabilities capabilities;
	bool no_new_privileges;
	struct config_rlimit *rlimits;
	size_t n_rlimits;
	bool has_oom_score_adj;
	int oom_score_adj;
	/* root */
	char *rootfs; /* a directory on the host, or NULL */
	struct config_overlay overlay;
	bool root_readonly;
	/* surroundings */
	char *hostname; /* NULL: as it is */
	struct config_mount *mounts;
	size_t n_mounts;
	char **masked_paths;
	char **readonly_paths;
	/* linux */
	uint64_t namespaces; /* CLONE_NEW* to make */
	char *cgroup_path;   /* "lazyrun/<id>" below each hierarchy's root, or NULL */
	bool user_namespace; /* we are inside one: no mknod, overlay with user xattrs */
	struct config_seccomp seccomp;
};

void config_init(struct config *c);
void config_free(struct config *c);

/* Appends a copy of `text` to a NULL-terminated array. */
int config_append(char ***array, const char *text);

/* Sets NAME=VALUE in env, replacing an earlier one. `assignment` holds the '='. */
int config_set_env(struct config *c, const char *assignment);

/* The value of `name` in env, or NULL. */
const char *config_env(const struct config *c, const char *name);

/* Appends a mount with copies of the strings; *ret points at it until the next one is added. `type`, `destination`
 * and the rest as in the struct; tree_fd is -1. */
int config_add_mount(struct config *c, const char *type, const char *source, const char *destination,
		     const char *data, uint64_t attributes, struct config_mount **ret);

/* The mounts, masked and read-only paths, capabilities and namespaces that docker gives each container. */
int config_add_defaults(struct config *c, uint64_t shm_size);
