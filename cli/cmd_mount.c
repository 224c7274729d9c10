/* `lazyrun mount IMAGE DIR` and `lazyrun umount DIR`: an image's tree, read-only, at a directory. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/report.h"
#include "cli/client.h"
#include "cli/command_table.h"
#include "cli/image_files.h"
#include "cli/session.h"

#define UMOUNT_NOFOLLOW_ 8 /* <sys/mount.h>, which does not go together with <linux/mount.h> */

static int whole_path(const char *dir, char ret[static PATH_MAX])
{
	if (!realpath(dir, ret))
		return fail(errno, "%s: %s%s", dir, strerror(errno), errno == ENOENT ? "; make it with mkdir" : "");
	return 0;
}

/* A clone gets its flags before anybody can see it; a bind mount would be writable for a moment. */
static int bind_read_only(const struct image_files *f, const char *dir)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
	_cleanup_(fd_close) int tree_fd = (int)syscall(SYS_open_tree, AT_FDCWD, f->root_path,
						       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);

	if (tree_fd < 0)
		return fail(errno, "%s cannot be mounted elsewhere: %s%s", f->root_path, strerror(errno),
			    errno == EPERM ? "; mounting needs root or a user namespace" : "");
	if (syscall(SYS_mount_setattr, tree_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return fail(errno, "mount_setattr(2): %s", strerror(errno));
	if (syscall(SYS_move_mount, tree_fd, "", AT_FDCWD, dir, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return fail(errno, "%s: the image cannot be mounted here: %s%s", dir, strerror(errno),
			    errno == ENOTDIR ? "; it must be a directory" : "");
	return 0;
}

/* The worker was killed, perhaps behind its hold; its connection may still be busy. */
static void release_hold(const char *dir)
{
	_cleanup_(session_close) struct session s = {0};

	if (session_open_running(&s) == 0)
		(void)image_files_hold(s.client, dir, "", false);
}

int cmd_mount(int argc, char **argv)
{
	_cleanup_(image_files_close) struct image_files f = {.root_fd = -1};
	struct ensure_options options = {0};
	struct option_spec specs[ENSURE_N_OPTIONS + 1] = {0};
	const struct option_rules rules = {.command = "mount", .specs = specs, .min_operands = 2, .max_operands = 2};
	struct options_result o;
	char dir[PATH_MAX];
	bool as_user = geteuid() != 0;
	int r;

	ensure_option_specs(&options, specs);
	r = command_options(&rules, argc, argv, &o);
	if (r != 0)
		return r < 0 ? r : 0;
	options.image = o.operands[0];
	r = whole_path(o.operands[1], dir);
	if (r == 0)
		r = image_files_open(&options, &f);
	if (r > 0)
		return f.exit_code;
	if (r == -ETIMEDOUT && f.image)
		release_hold(dir);
	/* Before the mount: a server that leaves in between would leave it dead. */
	if (r == 0)
		r = image_files_hold(f.image->client, dir, f.image->image_key, true);
	if (r < 0)
		return r;
	r = bind_read_only(&f, dir);
	if (r < 0) {
		(void)image_files_hold(f.image->client, dir, "", false);
		return r;
	}
	if (as_user && !options.quiet)
		report_note("%s is mounted in lazyrun's namespaces; see it with: lazyrun unshare ls %s", dir,
			    o.operands[1]);
	return 0;
}

/* mountinfo's \040 and the like; proc(5). */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from;) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
		    from[3] >= '0' && from[3] <= '7') {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

/* Whether the topmost mount at `dir` shows an image of ours: umount is not for anything else. */
static int check_ours(const char *dir)
{
	_cleanup_(fd_free_memory) char *line = NULL;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	size_t capacity = 0;
	bool found = false, ours = false;

	if (!f)
		return fail(errno, "/proc/self/mountinfo: %s", strerror(errno));
	while (getline(&line, &capacity, f) > 0) {
		char root[PATH_MAX], point[PATH_MAX];
		const char *type = strstr(line, " - ");

		if (sscanf(line, "%*d %*d %*s %4095s %4095s", root, point) != 2 || !type)
			continue;
		unescape(point);
		if (strcmp(point, dir) != 0)
			continue;
		found = true;
		ours = strncmp(type + 3, "fuse", 4) == 0 && strncmp(root, "/images/", 8) == 0;
	}
	fclose(f);
	if (!found)
		return fail(EINVAL, "%s: nothing is mounted here", dir);
	if (!ours)
		return fail(EINVAL, "%s: what is mounted here is no image of lazyrun; umount(8) ends it", dir);
	return 0;
}

/* The path as the kernel has it, without looking into a mount whose server may be dead. */
static int mount_path(const char *dir, char ret[static PATH_MAX])
{
	_cleanup_(fd_free_memory) char *copy = strdup(dir);
	char parent[PATH_MAX];
	size_t size = copy ? strlen(copy) : 0;
	char *slash;

	if (!copy)
		return -ENOMEM;
	while (size > 1 && copy[size - 1] == '/')
		copy[--size] = '\0';
	slash = strrchr(copy, '/');
	if (strcmp(copy, "..") == 0 || strcmp(copy, ".") == 0 || (slash && (slash[1] == '.' || slash == copy)))
		return whole_path(dir, ret);
	if (slash)
		*slash = '\0';
	if (!realpath(slash ? copy : ".", parent))
		return fail(errno, "%s: %s", dir, strerror(errno));
	if (snprintf(ret, PATH_MAX, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash ? slash + 1 : copy) >=
	    PATH_MAX)
		return fail(ENAMETOOLONG, "%s: the path is too long", dir);
	return 0;
}

int cmd_umount(int argc, char **argv)
{
	_cleanup_(session_close) struct session s = {0};
	const struct option_rules rules = {.command = "umount", .min_operands = 1, .max_operands = 1};
	struct options_result o;
	char dir[PATH_MAX];
	int running, r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	r = mount_path(o.operands[0], dir);
	if (r < 0)
		return r;
	running = session_open_running(&s);
	if (running < 0 && running != -ENOENT)
		return running;
	/* An ordinary user's mounts end with the server; root's are the host's and stay until unmounted. */
	r = running == 0 ? client_join(s.client) : 0;
	if (r == 0)
		r = check_ours(dir);
	if (r < 0)
		return r;
	if (syscall(SYS_umount2, dir, UMOUNT_NOFOLLOW_) < 0)
		return fail(errno, "%s cannot be unmounted: %s%s", dir, strerror(errno),
			    errno == EBUSY ? "; a process has files open or its working directory there" : "");
	return running == 0 ? image_files_hold(s.client, dir, "", false) : 0;
}
