/* seccomp: the cache gives back what was compiled from the same text, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "runtime/caps.h"
#include "runtime/seccomp.h"

static char top[32];
static int dir_fd;

static int make_cache(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/test_seccomp.XXXXXX");
	assert_non_null(mkdtemp(top));
	dir_fd = open(top, O_RDONLY | O_DIRECTORY);
	return 0;
}

static int remove_cache(void **state)
{
	(void)state;
	close(dir_fd);
	return fd_remove_tree(AT_FDCWD, top);
}

/* The one file in the cache. */
static void only_file(char name[static 400])
{
	DIR *dir = opendir(top);
	unsigned int n = 0;

	for (struct dirent *d; (d = readdir(dir));)
		if (d->d_name[0] != '.') {
			snprintf(name, 400, "%s/%s", top, d->d_name);
			n++;
		}
	closedir(dir);
	assert_int_equal(n, 1);
}

static void prepare(struct config_seccomp *s)
{
	assert_int_equal(seccomp_prepare(NULL, 0, dir_fd, s), 0);
}

static void gives_back_the_same(void **state)
{
	struct config_seccomp first = {0}, second = {0};
	struct stat st;
	char name[400];

	(void)state;
	prepare(&first);
	only_file(name);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	prepare(&second);
	assert_int_equal(first.size, second.size);
	assert_memory_equal(first.program, second.program, first.size);
	bytes_free(&first.owned);
	bytes_free(&second.owned);
}

/* Whatever stands in the file, what comes out is right. */
static void does_not_believe_a_damaged_file(void **state)
{
	struct config_seccomp first = {0}, again = {0};
	char name[400];
	struct stat st;
	int fd;

	(void)state;
	prepare(&first);
	only_file(name);
	assert_int_equal(stat(name, &st), 0);
	for (int kind = 0; kind < 5; kind++) {
		fd = open(name, O_RDWR);
		if (kind == 0)
			assert_int_equal(ftruncate(fd, 0), 0);
		else if (kind == 1)
			assert_int_equal(ftruncate(fd, st.st_size - 3), 0); /* no whole instruction */
		else if (kind == 2)
			assert_int_equal(pwrite(fd, "\xff\xff\xff\xff", 4, 4), 4); /* the key's size */
		else if (kind == 3)
			assert_int_equal(pwrite(fd, "X", 1, 100), 1); /* another key */
		else
			assert_int_equal(fchmod(fd, 0666), 0); /* somebody else could have written it */
		close(fd);
		prepare(&again);
		assert_int_equal(again.size, first.size);
		assert_memory_equal(again.program, first.program, first.size);
		bytes_free(&again.owned);
	}
	bytes_free(&first.owned);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(gives_back_the_same, make_cache, remove_cache),
		cmocka_unit_test_setup_teardown(does_not_believe_a_damaged_file, make_cache, remove_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
