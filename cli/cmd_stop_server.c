/* `lazyrun stop-server`: ends the server of this store, and waits until it is gone. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cli/client.h"
#include "cli/command_table.h"
#include "cli/session.h"
#include "cli/spare.h"

#define GONE_MS 10000

static int stop(struct session *s, bool force)
{
	_cleanup_(json_field_free) struct json_object *request = json_object_new_object(), *answer = NULL;
	pid_t pid = client_supervisor_pid(s->client);
	_cleanup_(fd_close) int pid_fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	struct pollfd p = {.fd = pid_fd, .events = POLLIN};
	int r;

	if (!request || json_object_object_add(request, "op", json_object_new_string("stop")) < 0 ||
	    json_object_object_add(request, "force", json_object_new_boolean(force)) < 0)
		return -ENOMEM;
	r = client_request(s->client, request, NULL, &answer);
	if (r < 0)
		return r;
	client_free(&s->client); /* it waits for the last connection */
	if (pid_fd < 0)
		return 0;
	do
		r = poll(&p, 1, GONE_MS);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return fail(ETIMEDOUT, "the server (pid %d) agreed to stop, but is still there after %d s", pid,
			    GONE_MS / 1000);
	return 0;
}

int cmd_stop_server(int argc, char **argv)
{
	_cleanup_(session_close) struct session s = {0};
	bool force = false;
	const struct option_spec specs[] = {
		{"force", 0, OPTION_FLAG, &force, NULL, "also when containers and mounts still use it"}, {0}};
	const struct option_rules rules = {.command = "stop-server", .specs = specs};
	struct options_result o;
	int r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	r = session_open_running(&s);
	if (r == -ENOENT && !report_any()) {
		printf("no server runs for this store\n");
		return 0;
	}
	if (r < 0)
		return r;
	spare_drop(s.store->store_path);
	return stop(&s, force);
}
