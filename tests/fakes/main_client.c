/* serve_client [--join] [--running] [--timeout N] [--remember KEY] JSON...: sends requests, prints the
 * packets that come; --join PROGRAM...: executes it where the mounts are seen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cache/store.h"
#include "cli/client.h"

static int ask(struct client *c, const char *text, const uint8_t *key)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	int r = json_field_parse(text, strlen(text), &o);

	if (r < 0)
		return r;
	r = client_send(c, o, key);
	if (r < 0)
		return r;
	do {
		struct json_object *packet = NULL;

		r = client_receive(c, &packet);
		if (r >= 0)
			printf("%s\n", json_object_to_json_string_ext(packet, JSON_C_TO_STRING_PLAIN));
		fflush(stdout);
		json_object_put(packet);
	} while (r == 1);
	return r;
}

int main(int argc, char **argv)
{
	_cleanup_(store_free) struct store *s = NULL;
	_cleanup_(client_free) struct client *c = NULL;
	uint8_t key[16] = {0}, *remember = NULL;
	int timeout = 0, i = 1, r, running = 0;

	report_init("serve_client");
	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--timeout") == 0)
			timeout = atoi(argv[++i]);
		else if (strcmp(argv[i], "--running") == 0)
			running = 1;
		else if (strcmp(argv[i], "--remember") == 0) {
			remember = key;
			memcpy(key, argv[i + 1], strnlen(argv[i + 1], sizeof(key)));
			i++;
		} else if (strcmp(argv[i], "--join") == 0) {
			i++;
			break;
		}
	}
	r = store_open(NULL, NULL, true, &s);
	if (r == 0)
		r = running ? client_open_running(s, timeout, &c) : client_open(s, timeout, &c);
	if (r == 0 && i > 1 && strcmp(argv[i - 1], "--join") == 0) {
		r = client_join(c);
		if (r == 0 && i < argc) {
			execvp(argv[i], argv + i);
			return 1;
		}
	}
	for (; r == 0 && i < argc; i++)
		r = ask(c, argv[i], remember);
	return r < 0 ? -r : 0;
}
