/* user: whom a container's command runs as: "name", "uid", "user:group", looked up in the root's own files.
 *
 * Ownership  user_free() ends a struct user; an all-zero struct is a valid empty one.
 * Units      Numbers inside the container.
 * Errors     -EINVAL, -ENOENT, -EFBIG, -EBADMSG, all reported. A missing passwd or group file is empty.
 * Threads    Any.
 * Source     image-spec config.md "User"; docker's rules (moby/sys/user, GetExecUser): all digits is a number, a
 *            group given by hand turns supplementary groups off, the primary group is among them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct user {
	uint32_t uid, gid;
	uint32_t *groups;
	size_t n_groups;
	char *home; /* "/" when passwd does not say */
};

void user_free(struct user *u);

/* `root_fd`: the root directory (or a lower directory) whose /etc/passwd and /etc/group count. `more_groups`: names
 * or numbers, NULL-terminated, or NULL. */
int user_resolve(int root_fd, const char *text, const char *const *more_groups, struct user *ret);

/* The same on the files' bytes. */
int user_parse(const struct bytes *passwd, const struct bytes *group, const char *text,
	       const char *const *more_groups, struct user *ret);
