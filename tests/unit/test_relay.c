/* The relay loses no request and no answer when fetchers die, and cuts off who breaks the protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/message.h"
#include "base/report.h"
#include "fs/relay.h"

struct bench {
	char path[64];
	struct store store;
	struct control control;
	struct relay *relay;
	int fetcher_fd; /* the fetcher's end */
	int memory_fd;
};

static void turn(struct bench *b)
{
	struct pollfd fds[RELAY_POLL_MAX];

	for (int i = 0; i < 6; i++) {
		size_t n = relay_poll(b->relay, fds);

		assert_true(poll(fds, n, 5) >= 0);
		relay_dispatch(b->relay, fds, n);
	}
}

static void new_fetcher(struct bench *b)
{
	int pair[2];

	fd_close(&b->fetcher_fd);
	relay_end_fetcher(b->relay);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	b->fetcher_fd = pair[1];
	relay_set_fetcher(b->relay, pair[0]);
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	static char text[REPORT_TEXT_SIZE];

	report_capture(text);
	strcpy(b->path, "/tmp/test_relay.XXXXXX");
	assert_non_null(mkdtemp(b->path));
	b->store.run_path = b->path;
	b->store.run_fd = fd_open_dir(AT_FDCWD, b->path, false);
	assert_true(b->store.run_fd >= 0);
	b->fetcher_fd = -1;
	b->control.supervisor_pid = 11;
	assert_int_equal(relay_new(&b->store, -1, -1, &b->control, &b->memory_fd, &b->relay), 0);
	new_fetcher(b);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	relay_free(&b->relay);
	fd_close(&b->memory_fd);
	fd_close(&b->fetcher_fd);
	unlinkat(b->store.run_fd, "socket", 0);
	fd_close(&b->store.run_fd);
	rmdir(b->path);
	free(b);
	return 0;
}

static int connect_to(const struct bench *b)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/socket", b->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void say(int fd, enum message_kind kind, uint32_t connection, char key, const char *op)
{
	struct message_head h = {.kind = (uint16_t)kind, .connection = connection};
	struct json_object *o = json_object_new_object();

	h.remember[0] = (uint8_t)key;
	json_object_object_add(o, "op", json_object_new_string(op));
	assert_int_equal(message_send(fd, &h, o, 1000), 0);
	json_object_put(o);
}

/* The next packet is of this kind and about `op`. Returns its connection. */
static uint32_t expect(int fd, enum message_kind kind, const char *op)
{
	struct json_object *o = NULL;
	struct message_head h;
	const char *text = "";

	assert_int_equal(message_receive(fd, 1000, &h, &o), 0);
	assert_int_equal(h.kind, kind);
	if (op) {
		assert_int_equal(json_field_string(o, "op", &text), 0);
		assert_string_equal(text, op);
	}
	json_object_put(o);
	return h.connection;
}

static void expect_nothing(int fd)
{
	struct json_object *o = NULL;
	struct message_head h;

	assert_int_equal(message_receive(fd, 0, &h, &o), -EAGAIN);
}

static void expect_end(int fd)
{
	struct json_object *o = NULL;
	struct message_head h;

	assert_int_equal(message_receive(fd, 1000, &h, &o), -EPIPE);
}

static void relays_both_ways(void **state)
{
	struct bench *b = *state;
	int first = connect_to(b), second = connect_to(b);
	uint32_t c1, c2;

	say(first, MESSAGE_REQUEST, 0, 0, "one");
	turn(b);
	c1 = expect(b->fetcher_fd, MESSAGE_REQUEST, "one");
	say(second, MESSAGE_REQUEST, 77, 0, "two");
	turn(b);
	c2 = expect(b->fetcher_fd, MESSAGE_REQUEST, "two");
	assert_int_not_equal(c1, c2);
	say(b->fetcher_fd, MESSAGE_REPLY, c2, 0, "progress");
	say(b->fetcher_fd, MESSAGE_LAST, c1, 0, "done one");
	say(b->fetcher_fd, MESSAGE_LAST, c2, 0, "done two");
	say(b->fetcher_fd, MESSAGE_LAST, c2, 0, "once more");
	turn(b);
	expect(first, MESSAGE_LAST, "done one");
	expect(second, MESSAGE_REPLY, "progress");
	expect(second, MESSAGE_LAST, "done two");
	expect_nothing(second);
	close(second);
	turn(b);
	assert_int_equal(expect(b->fetcher_fd, MESSAGE_GONE, NULL), c2);
	close(first);
}

static void asks_a_new_fetcher_again(void **state)
{
	struct bench *b = *state;
	int first = connect_to(b), second = connect_to(b);
	uint32_t c;

	say(first, MESSAGE_REQUEST, 0, 'k', "old");
	turn(b);
	c = expect(b->fetcher_fd, MESSAGE_REQUEST, "old");
	say(b->fetcher_fd, MESSAGE_LAST, c, 0, "done");
	turn(b);
	expect(first, MESSAGE_LAST, "done");
	say(first, MESSAGE_REQUEST, 0, 'k', "new");
	say(second, MESSAGE_REQUEST, 0, 'l', "other");
	turn(b);
	say(b->fetcher_fd, MESSAGE_LAST, c, 0, "said before it died");
	new_fetcher(b);
	expect(first, MESSAGE_LAST, "said before it died");
	expect(b->fetcher_fd, MESSAGE_REPLAY, "new");
	expect(b->fetcher_fd, MESSAGE_REPLAY, "other");
	c = expect(b->fetcher_fd, MESSAGE_AGAIN, "other");
	expect_nothing(b->fetcher_fd);
	say(b->fetcher_fd, MESSAGE_LAST, c, 0, "done");
	turn(b);
	expect(second, MESSAGE_LAST, "done");
	close(first);
	close(second);
}

/* Crashes count, kills do not; what is given up is not remembered either. */
static void gives_up_a_request_that_fetchers_die_of(void **state)
{
	struct bench *b = *state;
	int first = connect_to(b), second;

	say(first, MESSAGE_REQUEST, 0, 'k', "poison");
	turn(b);
	for (int i = 0; i < 5; i++) { /* kills */
		expect(b->fetcher_fd, i ? MESSAGE_AGAIN : MESSAGE_REQUEST, "poison");
		new_fetcher(b);
		expect(b->fetcher_fd, MESSAGE_REPLAY, "poison");
	}
	for (int i = 0; i < 3; i++) {
		expect_nothing(first);
		if (i)
			expect(b->fetcher_fd, MESSAGE_REPLAY, "poison");
		expect(b->fetcher_fd, MESSAGE_AGAIN, "poison");
		relay_fetcher_crashed(b->relay);
		new_fetcher(b);
	}
	expect(first, MESSAGE_LAST, NULL);
	expect_nothing(b->fetcher_fd);
	second = connect_to(b);
	say(second, MESSAGE_REQUEST, 0, 0, "fine");
	turn(b);
	relay_fetcher_crashed(b->relay);
	new_fetcher(b);
	expect(b->fetcher_fd, MESSAGE_AGAIN, "fine");
	expect_nothing(second);
	close(first);
	close(second);
}

static void keeps_answers_for_who_does_not_read(void **state)
{
	struct bench *b = *state;
	int fd = connect_to(b);
	uint32_t c;
	int n = 0;

	say(fd, MESSAGE_REQUEST, 0, 0, "slow");
	turn(b);
	c = expect(b->fetcher_fd, MESSAGE_REQUEST, "slow");
	for (int i = 0; i < 3000; i++) {
		say(b->fetcher_fd, MESSAGE_REPLY, c, 0, "progress");
		if (i % 50 == 49)
			turn(b);
	}
	say(b->fetcher_fd, MESSAGE_LAST, c, 0, "done");
	turn(b);
	for (;; n++) {
		struct json_object *o = NULL;
		struct message_head h;

		if (message_receive(fd, 0, &h, &o) < 0) {
			turn(b);
			assert_int_equal(message_receive(fd, 1000, &h, &o), 0);
		}
		json_object_put(o);
		if (h.kind == MESSAGE_LAST)
			break;
	}
	assert_true(n > 0 && n < 3000); /* progress was dropped, the answer was not */
	close(fd);
}

static void waits_for_a_fetcher_that_does_not_read(void **state)
{
	enum { N = 400 };
	struct bench *b = *state;
	static int fds[N];

	for (int i = 0; i < N; i++) {
		fds[i] = connect_to(b);
		say(fds[i], MESSAGE_REQUEST, 0, 0, "many");
		turn(b);
	}
	for (int i = 0; i < N; i++) {
		expect(b->fetcher_fd, MESSAGE_REQUEST, "many");
		if (i % 20 == 0)
			turn(b);
	}
	expect_nothing(b->fetcher_fd);
	for (int i = 0; i < N; i++)
		close(fds[i]);
}

static void cuts_off_who_breaks_the_protocol(void **state)
{
	static const struct message_head good = {.magic = MESSAGE_MAGIC, .kind = MESSAGE_REQUEST};
	static uint8_t large[LIMIT_MESSAGE_SIZE + 1];
	struct bench *b = *state;
	struct {
		struct message_head head;
		const void *data;
		size_t size;
	} cases[] = {
		{{0}, "x", 1},
		{good, NULL, sizeof(good) - 1},
		{{.magic = 1, .kind = MESSAGE_REQUEST}, NULL, sizeof(good)},
		{{.magic = MESSAGE_MAGIC, .kind = MESSAGE_LAST}, NULL, sizeof(good)},
		{{.magic = MESSAGE_MAGIC, .kind = 99}, NULL, sizeof(good)},
		{good, large, sizeof(large)},
	};

	memcpy(large, &good, sizeof(good));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = connect_to(b);

		assert_true(send(fd, cases[i].data ? cases[i].data : &cases[i].head, cases[i].size, 0) > 0);
		turn(b);
		expect_end(fd);
		close(fd);
	}
	expect_nothing(b->fetcher_fd);
}

static void decides_whether_to_leave(void **state)
{
	struct bench *b = *state;
	int asker = connect_to(b), other = connect_to(b);
	struct message_head idle = {.kind = MESSAGE_IDLE};
	struct json_object *o = NULL;
	struct message_head h;
	uint64_t err;

	say(asker, MESSAGE_REQUEST, 0, 0, "stop");
	turn(b);
	idle.connection = expect(b->fetcher_fd, MESSAGE_REQUEST, "stop");
	assert_int_equal(message_send(b->fetcher_fd, &idle, NULL, 1000), 0);
	turn(b);
	assert_false(relay_wants_to_leave(b->relay));
	assert_int_equal(message_receive(asker, 1000, &h, &o), 0);
	assert_int_equal(json_field_u64(o, "errno", &err), 0);
	assert_int_equal(err, EBUSY);
	json_object_put(o);
	close(other);
	say(asker, MESSAGE_REQUEST, 0, 0, "stop");
	turn(b);
	expect(b->fetcher_fd, MESSAGE_REQUEST, "stop");
	assert_int_equal(message_send(b->fetcher_fd, &idle, NULL, 1000), 0);
	turn(b);
	assert_true(relay_wants_to_leave(b->relay));
	assert_int_equal(message_receive(asker, 1000, &h, &o), 0);
	assert_int_equal(json_field_u64(o, "errno", &err), 0);
	assert_int_equal(err, 0);
	json_object_put(o);
	close(asker);
}

static void answers_join_by_itself(void **state)
{
	struct bench *b = *state;
	int fd = connect_to(b);
	struct message_head h = {.kind = MESSAGE_JOIN};
	struct json_object *o = NULL;
	uint64_t pid;

	assert_int_equal(message_send(fd, &h, NULL, 1000), 0);
	turn(b);
	assert_int_equal(message_receive(fd, 1000, &h, &o), 0);
	assert_int_equal(h.kind, MESSAGE_JOIN);
	assert_int_equal(json_field_u64(o, "supervisor_pid", &pid), 0);
	assert_int_equal(pid, 11);
	json_object_put(o);
	expect_nothing(b->fetcher_fd);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(relays_both_ways, set_up, tear_down),
		cmocka_unit_test_setup_teardown(asks_a_new_fetcher_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(gives_up_a_request_that_fetchers_die_of, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keeps_answers_for_who_does_not_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(waits_for_a_fetcher_that_does_not_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cuts_off_who_breaks_the_protocol, set_up, tear_down),
		cmocka_unit_test_setup_teardown(decides_whether_to_leave, set_up, tear_down),
		cmocka_unit_test_setup_teardown(answers_join_by_itself, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
