/* trusted_path: who else could exchange a directory is told apart, by owners, modes, sticky bits and links. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h" /* before cmocka.h, which makes fail() a macro */
#include "base/trusted_path.h"

#include <cmocka.h>

#define OTHER 54321 /* a user, and a group */

static char top[] = "/tmp/trusted-XXXXXX";
static char said[REPORT_TEXT_SIZE];

static const char *at(const char *path)
{
	static char full[2][256];
	static unsigned int turn;

	turn = !turn;
	snprintf(full[turn], sizeof(full[turn]), "%s/%s", top, path);
	return full[turn];
}

static int try(const char *path, bool make)
{
	int fd;

	report_forget();
	report_capture(said);
	fd = trusted_path_open(at(path), "store", "--store DIR", make);
	report_capture(NULL);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static void dir(const char *path, uid_t uid, gid_t gid, mode_t mode)
{
	assert_return_code(mkdir(at(path), 0700), errno);
	assert_return_code(chown(at(path), uid, gid), errno);
	assert_return_code(chmod(at(path), mode), errno);
}

static void what_is_missing_is_made(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(try("a/b/store", false), -ENOENT);
	assert_int_equal(try("a/b/store", true), 0);
	assert_return_code(stat(at("a/b"), &st), errno);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_return_code(stat(at("a/b/store"), &st), errno);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(try("a/./b//store/", true), 0);
	assert_int_equal(try("a/../a/b/store", false), 0);
}

static void a_file_is_none(void **state)
{
	(void)state;
	assert_return_code(close(open(at("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), errno);
	assert_int_equal(try("file", true), -ENOTDIR);
	assert_int_equal(try("file/store", true), -ENOTDIR);
}

static void others_may_not_write_on_the_way(void **state)
{
	(void)state;
	dir("open", geteuid(), getegid(), 0777);
	assert_int_equal(try("open/store", true), -EACCES);
	assert_non_null(strstr(said, "--store DIR"));
	assert_int_equal(access(at("open/store"), F_OK), -1); /* nothing was made there */
	dir("sticky", geteuid(), getegid(), 01777);
	assert_int_equal(try("sticky/mine/store", true), 0);
}

static void links_count_by_who_may_exchange_them(void **state)
{
	(void)state;
	dir("target", geteuid(), getegid(), 0755);
	assert_return_code(symlink("target", at("link")), errno);
	assert_int_equal(try("link/store", true), 0);
	assert_int_equal(access(at("target/store"), F_OK), 0);
	assert_int_equal(try("link", true), -ELOOP); /* not as the last name */
	assert_return_code(symlink("round", at("round")), errno);
	assert_int_equal(try("round/store", true), -ELOOP);
	assert_return_code(symlink(at("open"), at("leads-out")), errno);
	assert_int_equal(try("leads-out/store", true), -EACCES);
}

/* LIMIT_SYMLINKS */
static void forty_links_and_no_more(void **state)
{
	char name[16], to[16];

	(void)state;
	dir("0", geteuid(), getegid(), 0755);
	for (unsigned int i = 1; i <= LIMIT_SYMLINKS + 1; i++) {
		snprintf(name, sizeof(name), "%u", i);
		snprintf(to, sizeof(to), "%u", i - 1);
		assert_return_code(symlink(to, at(name)), errno);
	}
	snprintf(to, sizeof(to), "%u/store", LIMIT_SYMLINKS);
	assert_int_equal(try(to, true), 0);
	snprintf(to, sizeof(to), "%u/store", LIMIT_SYMLINKS + 1);
	assert_int_equal(try(to, true), -ELOOP);
}

static void another_user_owns_no_part_of_the_way(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	dir("theirs", OTHER, OTHER, 0755);
	assert_int_equal(try("theirs/store", true), -EACCES);
	assert_non_null(strstr(said, "54321"));
	dir("sticky/theirs", OTHER, OTHER, 0755);
	assert_int_equal(try("sticky/theirs/store", true), -EACCES);
	assert_return_code(symlink(at("target"), at("sticky/link")), errno);
	assert_int_equal(try("sticky/link/store", true), 0);
	assert_return_code(lchown(at("sticky/link"), OTHER, OTHER), errno);
	assert_int_equal(try("sticky/link/store", true), -EACCES);
	dir("group", 0, OTHER, 0775);
	assert_int_equal(try("group/store", true), -EACCES);
}

/* Where each user has a group of the same number, a group that may write is no other user. */
static void a_user_with_a_group_of_his_own(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_return_code(chmod(top, 0755), errno);
	dir("home", OTHER, OTHER, 0775);
	dir("home-users", OTHER, 100, 0775);
	pid = fork();
	if (pid == 0)
		_exit(setgid(OTHER) < 0 || setuid(OTHER) < 0 || try("home/store", true) != 0 ||
		      try("home-users/store", true) != -EACCES);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int prepare(void **state)
{
	(void)state;
	return mkdtemp(top) ? 0 : -1;
}

static int clean(void **state)
{
	(void)state;
	return fd_remove_tree(AT_FDCWD, top);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_missing_is_made),
		cmocka_unit_test(a_file_is_none),
		cmocka_unit_test(others_may_not_write_on_the_way),
		cmocka_unit_test(links_count_by_who_may_exchange_them),
		cmocka_unit_test(forty_links_and_no_more),
		cmocka_unit_test(another_user_owns_no_part_of_the_way),
		cmocka_unit_test(a_user_with_a_group_of_his_own),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
