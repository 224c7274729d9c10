/* The bytes that a registry answers with, through libcurl as a fetch gets them: the head, where the body goes, and what
 * the user is told. The first byte says what was asked for, the second how long it must be. */
#include <assert.h>
#include <stdint.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/report.h"
#include "fetch/http_header.h"
#include "fetch/registry_error.h"
#include "fetch/transport_body.h"
#include "fetch/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libcurl connects to a socket of ours; what it shall read is written once it has. */
struct server {
	int listen_fd, fd;
	const uint8_t *data;
	size_t size;
};

static int answer(void *opaque, char *ip, char *local_ip, int port, int local_port)
{
	struct server *s = opaque;

	(void)ip, (void)local_ip, (void)port, (void)local_port;
	s->fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert(s->fd >= 0);
	assert(s->size == 0 || send(s->fd, s->data, s->size, MSG_NOSIGNAL) == (ssize_t)s->size);
	shutdown(s->fd, SHUT_WR);
	return CURL_PREREQFUNC_OK;
}

static void transfer(struct transport_body *b, const uint8_t *data, size_t size)
{
	static struct server s = {.listen_fd = -1};
	static char name[64];

	if (s.listen_fd < 0) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int n = snprintf(name, sizeof(name), "lazyrun-fuzz-%d", getpid());

		memcpy(address.sun_path + 1, name, (size_t)n);
		s.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert(bind(s.listen_fd, (struct sockaddr *)&address,
			    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0);
		assert(listen(s.listen_fd, 8) == 0);
	}
	s.data = data;
	s.size = size;
	s.fd = -1;
	curl_easy_setopt(b->easy, CURLOPT_ABSTRACT_UNIX_SOCKET, name);
	curl_easy_setopt(b->easy, CURLOPT_PREREQFUNCTION, answer);
	curl_easy_setopt(b->easy, CURLOPT_PREREQDATA, &s);
	transport_body_end(b, curl_easy_perform(b->easy));
	if (s.fd >= 0)
		close(s.fd);
}

static void use(const struct transport_reply *r)
{
	const char *at = (const char *)r->challenge.data;
	struct http_challenge c;
	struct url_origin o;

	for (const char *before = at; at && http_header_challenge(&at, &c) == 0; before = at)
		assert(at > before);
	if (r->redirect && url_origin_parse(r->redirect, &o) == 0)
		assert(o.host[0] && o.port);
	if (r->failure != TRANSPORT_OK)
		assert(registry_error_failure("registry.example", "a blob", r->redirect, r, -1) < 0);
	else
		assert(registry_error_status("registry.example", "a blob", r->redirect, r, r->status & 1) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[REPORT_TEXT_SIZE];
	struct transport_reply reply = {0};
	struct transport_options options = {0};
	struct bytes body = {0};
	atomic_uint_fast64_t n = 0;
	uint8_t *out;

	if (size < 2 || size > 100000)
		return 0;
	struct transport_request q = {.url = "http://127.0.0.1:5000/v2/x", .options = &options, .fd = -1, .timeout_ms = 5000,
				      .total = data[0] & 2 ? data[1] : TRANSPORT_UNKNOWN};
	out = malloc(data[1] + 1u);
	assert(out);
	if (data[0] & 1) {
		q.range_off = data[0] >> 4;
		q.range_size = data[1] + 1u;
		q.out = out;
	} else {
		q.body = &body;
		q.body_max = data[1];
	}
	struct transport_body b = {.request = &q, .reply = &reply, .body_bytes = &n};
	if (transport_body_begin(&b) == 0) {
		transfer(&b, data + 2, size - 2);
		assert(reply.received <= data[1] + 1u && body.size <= data[1]);
		report_capture(text);
		use(&reply);
		report_capture(NULL);
	}
	transport_reply_free(&reply);
	bytes_free(&body);
	free(out);
	return 0;
}
