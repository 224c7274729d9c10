/* store_open() and client_open(), with the timeout of the command line. */
#include "cli/session.h"

#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/named_paths.h"
#include "base/report.h"
#include "format/reference.h"

int session_timeout(int *ret)
{
	const char *text = getenv("LAZYRUN_TIMEOUT");
	char *end;
	long n;

	*ret = 0;
	if (!text || !*text)
		return 0;
	n = strtol(text, &end, 10);
	if (*end || n < 1 || n > 86400)
		return fail(EINVAL, "--timeout %s: it is a number of seconds from 1 to 86400 (LAZYRUN_TIMEOUT sets "
				    "it too)", text);
	*ret = (int)n;
	return 0;
}

int session_open(struct session *s)
{
	int timeout, r = session_timeout(&timeout);

	if (r == 0)
		r = store_open(NULL, NULL, true, &s->store);
	return r < 0 ? r : client_open(s->store, timeout, &s->client);
}

int session_open_running(struct session *s)
{
	int timeout, r = session_timeout(&timeout);

	if (r == 0)
		r = store_open(NULL, NULL, false, &s->store);
	return r < 0 ? r : client_open_running(s->store, timeout, &s->client);
}

void session_close(struct session *s)
{
	client_free(&s->client);
	store_free(&s->store);
}

int session_ask(struct session *s, const char *op, const char *image, struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *request = json_object_new_object();
	char text[LIMIT_PATH_SIZE + 512];
	struct reference ref;
	int r;

	if (!request || json_object_object_add(request, "op", json_object_new_string(op)) < 0)
		return -ENOMEM;
	if (image) {
		r = reference_parse(image, &ref);
		if (r == 0 && ref.kind == REFERENCE_LAYOUT)
			r = named_paths_add(s->store->run_fd, ref.path);
		if (r < 0)
			return r;
		if (json_object_object_add(request, "reference", json_object_new_string(reference_text(&ref, text))) < 0)
			return -ENOMEM;
	}
	return client_request(s->client, request, NULL, ret);
}
