/* mount_target finds or makes places in a root, and never leaves it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "runtime/mount_target.h"

static char top[64];
static int root_fd;

/* top/outside must stay empty; top/root is the root. */
static int make_root(void **state)
{
	char path[128];

	(void)state;
	snprintf(top, sizeof(top), "/tmp/test_mount_target.XXXXXX");
	assert_non_null(mkdtemp(top));
	snprintf(path, sizeof(path), "%s/outside", top);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/root", top);
	assert_int_equal(mkdir(path, 0755), 0);
	root_fd = open(path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(mkdirat(root_fd, "dir", 0755), 0);
	assert_int_equal(mkdirat(root_fd, "run", 0755), 0);
	close(openat(root_fd, "file", O_WRONLY | O_CREAT, 0644));
	assert_int_equal(symlinkat("/run", root_fd, "var-run"), 0);
	assert_int_equal(symlinkat("../../outside", root_fd, "climbs"), 0);
	assert_int_equal(symlinkat("/../../outside", root_fd, "climbs-absolute"), 0);
	assert_int_equal(symlinkat("/made/here/file", root_fd, "dangling"), 0);
	assert_int_equal(symlinkat("loop", root_fd, "loop"), 0);
	assert_int_equal(symlinkat("/dir", root_fd, "dir/up"), 0);
	return 0;
}

static int remove_root(void **state)
{
	(void)state;
	close(root_fd);
	return fd_remove_tree(AT_FDCWD, top);
}

static void assert_outside_empty(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/outside", top);
	assert_int_equal(rmdir(path), 0); /* succeeds only when nothing was made in it */
	assert_int_equal(mkdir(path, 0755), 0);
}

static void assert_is(int fd, const char *path)
{
	struct stat a, b;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(fstatat(root_fd, path, &b, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(fd);
}

static void makes_and_follows_inside_the_root(void **state)
{
	static const struct {
		const char *path;
		bool file;
		const char *found; /* where it must be */
	} cases[] = {
		{"/dir", false, "dir"},
		{"/file", true, "file"},
		{"/new/a/b", false, "new/a/b"},
		{"/new/file", true, "new/file"},
		{"//dir///x//", false, "dir/x"},
		{"/var-run/lock", false, "run/lock"},
		{"/dir/up/up/up", false, "dir"},
		{"/dir/../run", false, "run"},
		{"/../../..//dir", false, "dir"},
		{"/dangling", true, "made/here/file"},
		{"/climbs/x", false, "outside/x"}, /* ".." ends at the root: inside, under the same name */
		{"/climbs-absolute/y", true, "outside/y"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_is(mount_target_make(root_fd, cases[i].path, cases[i].file), cases[i].found);
	assert_outside_empty();
}

static void refuses_the_wrong_kind(void **state)
{
	(void)state;
	assert_int_equal(mount_target_make(root_fd, "/file", false), -ENOTDIR);
	assert_int_equal(mount_target_make(root_fd, "/dir", true), -EISDIR);
	assert_int_equal(mount_target_make(root_fd, "/file/below", true), -ENOTDIR);
	assert_int_equal(mount_target_make(root_fd, "/loop", false), -ELOOP);
	assert_int_equal(mount_target_make(root_fd, "/loop/x", true), -ELOOP);
}

/* LIMIT_SYMLINKS */
static void follows_as_many_links_as_the_kernel(void **state)
{
	char name[16], to[16] = "dir";

	(void)state;
	for (unsigned int i = 1; i <= LIMIT_SYMLINKS + 1; i++) {
		snprintf(name, sizeof(name), "l%u", i);
		assert_int_equal(symlinkat(to, root_fd, name), 0);
		snprintf(to, sizeof(to), "l%u", i);
		if (i == LIMIT_SYMLINKS - 1 || i == LIMIT_SYMLINKS)
			assert_is(mount_target_make(root_fd, name, false), "dir");
	}
	assert_int_equal(mount_target_make(root_fd, name, false), -ELOOP);
}

static void strict_targets_have_no_links(void **state)
{
	(void)state;
	assert_is(mount_target_strict(root_fd, "/dir"), "dir");
	assert_is(mount_target_strict(root_fd, "/dir/pts"), "dir/pts");
	assert_is(mount_target_strict(root_fd, "/proc"), "proc");
	assert_int_equal(mount_target_strict(root_fd, "/var-run"), -ELOOP);
	assert_int_equal(mount_target_strict(root_fd, "/var-run/x"), -ELOOP);
	assert_int_equal(mount_target_strict(root_fd, "/climbs"), -ELOOP);
	assert_true(mount_target_strict(root_fd, "/dir/missing/../..") < 0);
	assert_true(mount_target_strict(root_fd, "/file") < 0);
	assert_outside_empty();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(makes_and_follows_inside_the_root, make_root, remove_root),
		cmocka_unit_test_setup_teardown(refuses_the_wrong_kind, make_root, remove_root),
		cmocka_unit_test_setup_teardown(follows_as_many_links_as_the_kernel, make_root, remove_root),
		cmocka_unit_test_setup_teardown(strict_targets_have_no_links, make_root, remove_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
