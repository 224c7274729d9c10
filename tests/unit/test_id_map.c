/* Owners without a number in the user namespace show as 0. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/id_map.h"

static void load(const char *text, struct id_map *m)
{
	char path[] = "/tmp/test_id_map.XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_true(dprintf(fd, "%s", text) >= 0);
	close(fd);
	id_map_load(path, m);
	unlink(path);
}

static void shows_what_has_a_number(void **state)
{
	static const struct {
		const char *map;
		uint32_t id, shown;
	} cases[] = {
		{"         0          0 4294967295\n", 500000, 500000},
		{"         0          0 4294967295\n", 4294967294u, 4294967294u},
		{"         0       1000          1\n", 0, 0},
		{"         0       1000          1\n", 1, 0},
		{"0 1000 1\n1 100000 65536\n", 65536, 65536},
		{"0 1000 1\n1 100000 65536\n", 65537, 0},
		{"0 1000 1\n1 100000 65536\n100000 300000 10\n", 100009, 100009},
		{"0 1000 1\n1 100000 65536\n100000 300000 10\n", 100010, 0},
		{"", 77, 77}, /* unreadable: as it is */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct id_map m;

		load(cases[i].map, &m);
		assert_int_equal(id_map_show(&m, cases[i].id), cases[i].shown);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_what_has_a_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
