/* The one rule: a word of the table is a command, everything else is an image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/command_table.h"

static void knows_commands_and_planned_ones(void **unused)
{
	static const char *const planned[] = {
		"create", "start", "state", "kill", "delete", "exec", "pause", "resume", "ps", "list", "update",
		"events", "features", "spec", "checkpoint", "restore", "copy", "login", "logout", "tags", "sync",
		"save", "load", "tag", "unpack", "bundle", "validate", "verify", "repack", "config",
		"push", "referrers", "history", "diff", "commit", "logs"};
	static const char *const there[] = {"run", "pull", "images", "rmi", "evict", "mount", "umount", "unshare",
					    "inspect", "convert", "ls", "cat", "status", "stop-server", "doctor", "version",
					    "help", "serve"};

	(void)unused;
	for (size_t i = 0; i < sizeof(planned) / sizeof(planned[0]); i++) {
		assert_non_null(command_find(planned[i]));
		assert_int_equal(command_find(planned[i])->home, COMMAND_PLANNED);
	}
	for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++) {
		assert_non_null(command_find(there[i]));
		assert_int_not_equal(command_find(there[i])->home, COMMAND_PLANNED);
	}
}

static void takes_the_rest_as_images(void **unused)
{
	static const char *const images[] = {"debian", "", "RUN", "run:latest", "docker.io/library/run", "-it", "pul"};

	(void)unused;
	for (size_t i = 0; i < sizeof(images) / sizeof(images[0]); i++)
		assert_null(command_find(images[i]));
}

static void every_command_says_what_it_is(void **unused)
{
	(void)unused;
	for (const struct command *c = command_all(); c->name; c++) {
		assert_true(c->help && *c->help);
		assert_non_null(c->usage);
		/* Each is in the table once. */
		assert_ptr_equal(command_find(c->name), c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_commands_and_planned_ones),
		cmocka_unit_test(takes_the_rest_as_images),
		cmocka_unit_test(every_command_says_what_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
