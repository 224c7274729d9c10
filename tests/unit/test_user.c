/* user: docker's rules for "user[:group]", on files that an image brings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours reports */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/report.h"
#include "runtime/user.h"

static const char passwd_text[] = "root:x:0:0:root:/root:/bin/sh\n"
				  "broken line\n"
				  ":x:5:5::/nobody:\n"
				  "bad:x:12a:0::/bad:\n"
				  "huge:x:4294967295:0::/huge:\n"
				  "user:x:1000:1001:A User:/home/user:/bin/sh\n"
				  "1234:x:77:78::/digits:\n"
				  "nohome:x:9:9:::\n"
				  "relative:x:8:8::etc:\n"
				  "last:x:1010:1010::/home/last:/bin/sh"; /* no line end */
static const char group_text[] = "root:x:0:\nusers:x:100:user,other\nshort:x\nprefix:x:101:user2\nwheel:x:10:root,user\n"
				 "4321:x:55:\nhuge:x:4294967295:user\nlast:x:102:other,user";

struct result {
	int r;
	char text[REPORT_TEXT_SIZE];
	struct user user;
};

static struct result resolve(const char *text, const char *const *more)
{
	struct bytes passwd = {(uint8_t *)(uintptr_t)passwd_text, strlen(passwd_text), 0};
	struct bytes group = {(uint8_t *)(uintptr_t)group_text, strlen(group_text), 0};
	struct result result = {0};

	report_capture(result.text);
	result.r = user_parse(&passwd, &group, text, more, &result.user);
	report_capture(NULL);
	return result;
}

static void assert_groups(const struct user *u, const char *want)
{
	char got[200] = "";

	for (size_t i = 0; i < u->n_groups; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%u", i ? "," : "", u->groups[i]);
	assert_string_equal(got, want);
}

static void finds_users_and_groups(void **state)
{
	static const struct {
		const char *text;
		uint32_t uid, gid;
		const char *home, *groups;
	} cases[] = {
		{"", 0, 0, "/root", "0,10"},
		{"root", 0, 0, "/root", "0,10"},
		{"0", 0, 0, "/root", "0,10"},
		{"user", 1000, 1001, "/home/user", "1001,100,10,102"},
		{"1000", 1000, 1001, "/home/user", "1001,100,10,102"},
		{"user:users", 1000, 100, "/home/user", "100"},
		{"user:7", 1000, 7, "/home/user", "7"},
		{"user:", 1000, 1001, "/home/user", "1001,100,10,102"},
		{":wheel", 0, 10, "/root", "10"},
		{"4242", 4242, 0, "/", "0"},
		{"4242:4243", 4242, 4243, "/", "4243"},
		{"1234", 1234, 0, "/", "0"},	   /* all digits is a number, never the name */
		{"user:4321", 1000, 4321, "/home/user", "4321"},
		{"4294967294", 4294967294u, 0, "/", "0"},
		{"00001000", 1000, 1001, "/home/user", "1001,100,10,102"},
		{"nohome", 9, 9, "/", "9"},
		{"relative", 8, 8, "/", "8"},
		{"last", 1010, 1010, "/home/last", "1010"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct result result = resolve(cases[i].text, NULL);

		assert_int_equal(result.r, 0);
		assert_int_equal(result.user.uid, cases[i].uid);
		assert_int_equal(result.user.gid, cases[i].gid);
		assert_string_equal(result.user.home, cases[i].home);
		assert_groups(&result.user, cases[i].groups);
		user_free(&result.user);
	}
}

static void refuses_what_is_not_there(void **state)
{
	static const struct {
		const char *text;
		int error;
	} cases[] = {
		{"nobody", -ENOENT},	  {"broken line", -ENOENT}, {"bad", -ENOENT},
		{"user:nogroup", -ENOENT}, {"user:short", -ENOENT}, {"huge", -EINVAL},
		{"4294967295", -EINVAL},  {"4294967296", -EINVAL},  {"18446744073709551616", -EINVAL},
		{"99999999999999999999999999999999", -EINVAL},	    {"0:4294967295", -EINVAL},
		{"user:huge", -EINVAL},	  {"-1", -ENOENT},	    {"+1", -ENOENT},
		{" 1", -ENOENT},	  {"1 ", -ENOENT},	    {"0x10", -ENOENT},
		{"1:2:3", -ENOENT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct result result = resolve(cases[i].text, NULL);

		assert_int_equal(result.r, cases[i].error);
		assert_string_not_equal(result.text, "");
	}
}

static void adds_groups_by_name_and_number(void **state)
{
	const char *const more[] = {"wheel", "7", "wheel", NULL}, *const bad[] = {"nogroup", NULL};
	struct result result = resolve("4242", more);

	(void)state;
	assert_int_equal(result.r, 0);
	assert_groups(&result.user, "0,10,7");
	user_free(&result.user);
	assert_int_equal(resolve("4242", bad).r, -ENOENT);
}

static void limits_the_number_of_groups(void **state)
{
	struct bytes passwd = {0}, group = {0};
	struct user u = {0};
	char text[REPORT_TEXT_SIZE];

	(void)state;
	assert_int_equal(bytes_printf(&passwd, "u:x:1:1::/:\n"), 0);
	for (unsigned int i = 2; i < LIMIT_GROUPS + 1; i++)
		assert_int_equal(bytes_printf(&group, "g%u:x:%u:u\n", i, i), 0);
	assert_int_equal(user_parse(&passwd, &group, "u", NULL, &u), 0);
	assert_int_equal(u.n_groups, LIMIT_GROUPS);
	user_free(&u);
	assert_int_equal(bytes_printf(&group, "more:x:9999:u\n"), 0);
	report_capture(text);
	assert_int_equal(user_parse(&passwd, &group, "u", NULL, &u), -EFBIG);
	report_capture(NULL);
	bytes_free(&passwd);
	bytes_free(&group);
}

static int resolve_below(int root_fd, struct user *ret)
{
	char text[REPORT_TEXT_SIZE];
	int r;

	report_capture(text);
	r = user_resolve(root_fd, "me", NULL, ret);
	report_capture(NULL);
	return r;
}

/* Links stay inside, and nothing but a regular file of a sane size is read. */
static void reads_regular_files_in_the_root_only(void **state)
{
	char top[] = "/tmp/test_user.XXXXXX";
	struct user u = {0};
	int root_fd;

	(void)state;
	assert_non_null(mkdtemp(top));
	root_fd = open(top, O_RDONLY | O_DIRECTORY);
	assert_int_equal(mkdirat(root_fd, "etc", 0755), 0);
	assert_int_equal(resolve_below(root_fd, &u), -ENOENT);
	assert_int_equal(fd_write_file(root_fd, "there", "me:x:6:6::/:\n", 13, 0644), 0);
	assert_int_equal(symlinkat("/there", root_fd, "etc/passwd"), 0); /* absolute: in the root */
	assert_int_equal(resolve_below(root_fd, &u), 0);
	assert_int_equal(u.uid, 6);
	user_free(&u);
	assert_int_equal(unlinkat(root_fd, "etc/passwd", 0), 0);
	assert_int_equal(mkfifoat(root_fd, "etc/passwd", 0644), 0);
	assert_int_equal(resolve_below(root_fd, &u), -EBADMSG); /* and does not wait for a writer */
	assert_int_equal(unlinkat(root_fd, "etc/passwd", 0), 0);
	int fd = openat(root_fd, "etc/passwd", O_WRONLY | O_CREAT, 0644);
	assert_int_equal(ftruncate(fd, LIMIT_PASSWD_SIZE + 1), 0);
	assert_int_equal(resolve_below(root_fd, &u), -EFBIG);
	assert_int_equal(ftruncate(fd, LIMIT_PASSWD_SIZE), 0);
	assert_int_equal(resolve_below(root_fd, &u), -ENOENT);
	close(fd);
	close(root_fd);
	assert_int_equal(fd_remove_tree(AT_FDCWD, top), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_users_and_groups),
		cmocka_unit_test(refuses_what_is_not_there),
		cmocka_unit_test(adds_groups_by_name_and_number),
		cmocka_unit_test(limits_the_number_of_groups),
		cmocka_unit_test(reads_regular_files_in_the_root_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
