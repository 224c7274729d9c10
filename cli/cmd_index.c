/* `lazyrun index IMAGE`: makes an image lazy without changing it: an artifact beside it, and start packs in that. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cli/command_table.h"
#include "cli/ensure.h"
#include "cli/human.h"
#include "cli/program.h"
#include "cli/session.h"
#include "cli/staged.h"

#define TERM_MS 10000 /* after SIGTERM, before SIGKILL */

struct index_options {
	struct ensure_options ensure;
	bool push, record, add_record, profiles;
	const char *seconds_text, *format;
	int seconds; /* 0: until the command ends */
};

static bool is_soci(const struct index_options *o)
{
	return o->format && strcmp(o->format, "soci") == 0;
}

static int check(struct index_options *o)
{
	char *end;
	long n;

	if (o->add_record) {
		o->record = true;
		if (!o->push)
			return fail(EINVAL, "index: --add-record adds to what is published: it needs --push");
	}
	if (o->format && strcmp(o->format, "lazyrun") != 0 && strcmp(o->format, "soci") != 0)
		return fail(EINVAL, "index: --format %s: it is lazyrun or soci", o->format);
	if (is_soci(o) && (o->record || o->profiles))
		return fail(EINVAL, "index: a SOCI index holds no start packs: --record and --profiles go with --format lazyrun");
	if (o->ensure.command[0] && !o->record)
		return fail(EINVAL, "index: '%s' is one argument too many; a command to record stands behind --record --",
			    o->ensure.command[0]);
	if (!o->seconds_text)
		return 0;
	n = strtol(o->seconds_text, &end, 10);
	if (*end || n < 1 || n > 3600 || !o->record)
		return fail(EINVAL, "index: --seconds %s: it is a number from 1 to 3600, with --record", o->seconds_text);
	o->seconds = (int)n;
	return 0;
}

static int make_request(const struct index_options *o, const char *op, struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *q = json_object_new_object();
	struct json_object *args = json_object_new_array();
	char text[LIMIT_PATH_SIZE + 512];
	struct reference ref;
	int r = reference_parse(o->ensure.image, &ref);

	for (char *const *a = o->ensure.command; *a; a++)
		json_object_array_add(args, json_object_new_string(*a));
	json_object_object_add(q, "args", args);
	if (r < 0)
		return r;
	json_object_object_add(q, "op", json_object_new_string(op));
	json_object_object_add(q, "reference", json_object_new_string(reference_text(&ref, text)));
	if (o->ensure.platform)
		json_object_object_add(q, "platform", json_object_new_string(o->ensure.platform));
	if (is_soci(o))
		json_object_object_add(q, "format", json_object_new_string(o->format));
	json_object_object_add(q, "push", json_object_new_boolean(o->push));
	json_object_object_add(q, "record", json_object_new_boolean(o->record));
	json_object_object_add(q, "add_record", json_object_new_boolean(o->add_record));
	json_object_object_add(q, "profiles", json_object_new_boolean(o->profiles));
	*ret = TAKE(q);
	return 0;
}

static int ask(struct client *c, const struct index_options *o, const char *op, struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *q = NULL;
	int r = make_request(o, op, &q);

	return r < 0 ? r : client_request(c, q, NULL, ret);
}

/* In the child. The image is whole in the store: nothing is asked of the registry, and no pack hides a read. */
static void exec_run(const struct index_options *o)
{
	char program[PATH_MAX], platform[160];
	const char *argv[8 + 1024];
	size_t n = 0;

	if (program_find_lazyrun(program) < 0)
		_exit(COMMAND_EXIT_FAILED);
	argv[n++] = "lazyrun";
	argv[n++] = "run";
	argv[n++] = "--quiet";
	argv[n++] = "--pull=never";
	argv[n++] = "--trust=pinned";
	if (o->ensure.platform) {
		snprintf(platform, sizeof(platform), "--platform=%s", o->ensure.platform);
		argv[n++] = platform;
	}
	argv[n++] = o->ensure.image;
	for (char *const *a = o->ensure.command; *a && n + 1 < sizeof(argv) / sizeof(argv[0]); a++)
		argv[n++] = *a;
	argv[n] = NULL;
	execv(program, (char *const *)argv);
	_exit(COMMAND_EXIT_FAILED);
}

/* Returns when the child has ended, which --seconds may hasten. */
static int wait_for(pid_t pid, int seconds, int *ret_status, bool *ret_ended)
{
	_cleanup_(fd_close) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	*ret_ended = false;
	if (seconds && poll(&p, 1, seconds * 1000) == 0) {
		*ret_ended = true;
		kill(pid, SIGTERM);
		if (poll(&p, 1, TERM_MS) == 0)
			kill(pid, SIGKILL);
	}
	while (waitpid(pid, ret_status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int run_command(const struct index_options *o)
{
	bool ended;
	int status = 0, code, r;
	pid_t pid = fork();

	if (pid < 0)
		return fail(errno, "fork: %s", strerror(errno));
	if (pid == 0)
		exec_run(o);
	r = wait_for(pid, o->seconds, &status, &ended);
	if (r < 0 || ended)
		return r;
	code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (code >= 125 && code <= 127)
		return fail(ECHILD, "index: the command could not be run: nothing was recorded");
	if (code) /* what it read is not what a start reads that goes well */
		return fail(ECHILD, "index: the command ended with exit code %d: nothing was recorded; one that is to end so can "
			    "be recorded as sh -c 'COMMAND; true'", code);
	return 0;
}

/* Whatever happens to the command, recording ends: by the index, or here. */
static int record(struct client *c, const struct index_options *o)
{
	struct json_object *answer = NULL;
	int r = ask(c, o, "record", &answer);

	json_field_free(&answer);
	if (r < 0)
		return r;
	r = run_command(o);
	if (r < 0) {
		char text[REPORT_TEXT_SIZE], *outer = report_capture(text);

		ask(c, o, "record-end", &answer);
		report_capture_again(outer);
		json_field_free(&answer);
	}
	return r;
}

static uint64_t number(struct json_object *o, const char *key)
{
	uint64_t n = 0;

	(void)json_field_u64(o, key, &n);
	return n;
}

static void say_notes(struct json_object *answer)
{
	struct json_object *list;
	size_t n;

	if (json_field_array(answer, "notes", &list, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		report_note("%s", json_object_get_string(json_object_array_get_idx(list, i)));
}

static void print(const struct index_options *o, struct json_object *answer)
{
	uint64_t image = number(answer, "image_size"), pack = number(answer, "pack_size"), sum;
	char a[HUMAN_SIZE], b[HUMAN_SIZE], d[HUMAN_SIZE], e[HUMAN_SIZE];
	const char *artifact = "";
	int pushed = 0;

	(void)json_field_string(answer, "artifact", &artifact);
	(void)json_field_bool(answer, "pushed", &pushed);
	if (o->ensure.quiet) {
		printf("%s\n", artifact);
		return;
	}
	sum = number(answer, "index_size") + number(answer, "spans_size") + number(answer, "windows_size");
	printf("%s: %s %s%s\n", o->ensure.image, is_soci(o) ? "SOCI index" : "artifact", artifact, pushed ? ", pushed" : "");
	if (is_soci(o)) {
		printf("  %" PRIu64 " layers: zTOCs %s: %.2f %% of the image\n", number(answer, "layers"),
		       human_bytes(sum, a), image ? (double)sum * 100 / (double)image : 0.0);
		return;
	}
	printf("  %" PRIu64 " layers: indexes %s, spans %s, windows %s: %.2f %% of the image\n", number(answer, "layers"),
	       human_bytes(number(answer, "index_size"), a), human_bytes(number(answer, "spans_size"), b),
	       human_bytes(number(answer, "windows_size"), d), image ? (double)sum * 100 / (double)image : 0.0);
	if (number(answer, "profiles"))
		printf("  profiles of %" PRIu64 " commands\n", number(answer, "profiles"));
	if (pack)
		printf("  start pack %s: %.2f %% of the image\n", human_bytes(pack, e),
		       image ? (double)pack * 100 / (double)image : 0.0);
}

static int run(const struct index_options *o)
{
	_cleanup_(json_field_free) struct json_object *answer = NULL;
	_cleanup_(ensure_result_free) struct ensure_result *image = NULL;
	_cleanup_(store_free) struct store *s = NULL;
	int r = store_open(NULL, NULL, true, &s);

	if (r == 0)
		r = ensure_image(s, &o->ensure, ENSURE_IMAGE, &image);
	if (r == 0 && o->record)
		r = record(image->client, o);
	if (r == 0)
		r = ask(image->client, o, "index", &answer);
	if (r == 0)
		r = staged_move(s, answer, image->reference.path);
	if (r < 0)
		return r;
	say_notes(answer);
	print(o, answer);
	return 0;
}

int cmd_index(int argc, char **argv)
{
	struct index_options o = {.ensure = {.lines = true}};
	struct option_spec specs[ENSURE_N_OPTIONS + 7] = {
		{"push", 0, OPTION_FLAG, &o.push, NULL, "put the artifact beside the image, where every lazyrun finds it"},
		{"record", 0, OPTION_FLAG, &o.record, NULL,
		 "run the command behind -- (or the image's own) for a start pack; its exit code must be 0"},
		{"add-record", 0, OPTION_FLAG, &o.add_record, NULL, "with --push: one start pack more for the present artifact"},
		{"format", 0, OPTION_TEXT, &o.format, "FORMAT", "lazyrun (the default), or soci: an index for soci-snapshotter"},
		{"seconds", 0, OPTION_TEXT, &o.seconds_text, "N", "record so long, then end the command: for servers"},
		{"profiles", 0, OPTION_FLAG, &o.profiles, NULL, "what earlier starts on this machine were seen to need goes along"},
	};
	const struct option_rules rules = {.command = "index", .specs = specs, .min_operands = 1, .max_operands = -1};
	struct options_result result;
	int r;

	ensure_option_specs(&o.ensure, specs + 6);
	r = command_options(&rules, argc, argv, &result);
	if (r != 0)
		return r < 0 ? r : 0;
	o.ensure.image = result.operands[0];
	o.ensure.command = result.operands + 1;
	o.ensure.whole = true;
	o.ensure.trust = "pinned";
	r = check(&o);
	return r < 0 ? r : run(&o);
}
