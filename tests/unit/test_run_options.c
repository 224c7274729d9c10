/* run_options, volume: docker's words, and what is said to wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours reports */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "base/report.h"
#include "cli/run_options.h"
#include "cli/volume.h"

static int parse(struct run_options *o, char *said, const char *const *words)
{
	static char *argv[32]; /* the options point into it */
	int argc = 1, r;

	memset(argv, 0, sizeof(argv));
	argv[0] = (char *)(uintptr_t) "run";
	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	report_capture(said);
	r = run_options_parse(argc, argv, o);
	report_capture(NULL);
	return r;
}
#define PARSE(o, said, ...) parse(o, said, (const char *const[]){__VA_ARGS__, NULL})

static void reads_dockers_flags(void **state)
{
	static struct run_options o;
	char said[REPORT_TEXT_SIZE];

	(void)state;
	assert_int_equal(PARSE(&o, said, "-it", "-e", "A=1", "--env=B=2", "-v/a:/b", "--rm", "--read-only", "-u", "1:2",
			       "--security-opt", "no-new-privileges", "--security-opt=seccomp=unconfined", "--net", "none",
			       "-h", "box", "--shm-size", "1g", "image", "cmd", "-e", "--net=host"), 0);
	assert_true(o.interactive && o.terminal && o.read_only && o.own_network && o.no_new_privileges &&
		    o.seccomp_unconfined);
	assert_int_equal(o.env.n_texts, 2);
	assert_string_equal(o.env.texts[1], "B=2");
	assert_string_equal(o.volumes.texts[0], "/a:/b");
	assert_string_equal(o.hostname, "box");
	assert_true(o.shm_size == UINT64_C(1) << 30);
	assert_string_equal(o.ensure.image, "image");
	assert_string_equal(o.command[0], "cmd"); /* and what stands behind it is the command's own */
	assert_string_equal(o.command[2], "--net=host");
	run_options_free(&o);
}

static void says_what_is_wrong(void **state)
{
	static const struct {
		const char *words[4];
		int error;
		const char *part;
	} cases[] = {
		{{"--privileged", "image"}, -EOPNOTSUPP, "not yet"},
		{{"--net", "bridge", "image"}, -EOPNOTSUPP, "bridge"},
		{{"--security-opt", "nonsense", "image"}, -EINVAL, "nonsense"},
		{{"--security-opt", "no-new-privileges=maybe", "image"}, -EINVAL, "maybe"},
		{{"-w", "relative", "image"}, -EINVAL, "absolute"},
		{{"-h", "no host", "image"}, -EINVAL, "no host"},
		{{"--shm-size", "1x", "image"}, -EINVAL, "1x"},
		{{"--shm-size", "-1", "image"}, -EINVAL, "-1"},
		{{"--shm-size", "99999999999999999t", "image"}, -EINVAL, "99999999999999999t"},
		{{"--volme", "/a:/b", "image"}, -EINVAL, "--volume"},
	};
	static struct run_options o;
	char said[REPORT_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(&o, said, cases[i].words), cases[i].error);
		assert_non_null(strstr(said, cases[i].part));
	}
}

static int add(int (*what)(struct config *, const char *), struct config *c, const char *text)
{
	char said[REPORT_TEXT_SIZE];
	int r;

	report_capture(said);
	r = what(c, text);
	report_capture(NULL);
	return r;
}

static void reads_volumes(void **state)
{
	struct config c;

	(void)state;
	config_init(&c);
	assert_int_equal(add(volume_add, &c, "/tmp:/in:ro,z,nosuid"), 0);
	assert_string_equal(c.mounts[0].source, "/tmp");
	assert_string_equal(c.mounts[0].destination, "/in");
	assert_true(c.mounts[0].attributes == (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID) && c.mounts[0].recursive);
	assert_int_equal(add(volume_add, &c, "/../tmp/.:/x"), 0);
	assert_string_equal(c.mounts[1].source, "/tmp");
	assert_int_equal(add(volume_add, &c, "name:/x"), -EOPNOTSUPP);
	assert_int_equal(add(volume_add, &c, "/x"), -EOPNOTSUPP);
	assert_int_equal(add(volume_add, &c, "/tmp:relative"), -EINVAL);
	assert_int_equal(add(volume_add, &c, "/tmp:/"), -EINVAL);
	assert_int_equal(add(volume_add, &c, "/tmp:/../"), -EINVAL);
	assert_int_equal(add(volume_add, &c, "/tmp:/x:shared"), -EOPNOTSUPP);
	assert_int_equal(add(volume_add, &c, "/no/such/source:/x"), -ENOENT);
	config_free(&c);
}

static void reads_tmpfs_and_ulimits(void **state)
{
	struct config c;

	(void)state;
	config_init(&c);
	assert_int_equal(add(volume_add_tmpfs, &c, "/run:exec,size=64k,mode=700,ro"), 0);
	assert_string_equal(c.mounts[0].data, "size=64k,mode=700");
	assert_true(c.mounts[0].attributes == (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY));
	assert_int_equal(add(volume_add_tmpfs, &c, "/run:nonsense"), -EINVAL);
	assert_int_equal(add(volume_add_tmpfs, &c, "run"), -EINVAL);
	assert_int_equal(add(volume_add_ulimit, &c, "nofile=100:200"), 0);
	assert_int_equal(c.rlimits[0].resource, RLIMIT_NOFILE);
	assert_true(c.rlimits[0].soft == 100 && c.rlimits[0].hard == 200);
	assert_int_equal(add(volume_add_ulimit, &c, "core=0"), 0);
	assert_int_equal(add(volume_add_ulimit, &c, "nofile=200:100"), -EINVAL);
	assert_int_equal(add(volume_add_ulimit, &c, "nofile"), -EINVAL);
	assert_int_equal(add(volume_add_ulimit, &c, "nofile=1x"), -EINVAL);
	assert_int_equal(add(volume_add_ulimit, &c, "nonsense=1"), -EINVAL);
	config_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_dockers_flags),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(reads_volumes),
		cmocka_unit_test(reads_tmpfs_and_ulimits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
