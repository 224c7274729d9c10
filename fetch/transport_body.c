/* The callbacks are the door: nothing longer or other than asked for passes them. */
#include "fetch/transport_body.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/fd.h"
#include "base/limits.h"
#include "fetch/http_header.h"
#include "fetch/transport_send.h"

#define CONNECT_TIMEOUT_MS 15000
#define STALL_SECONDS 30
/* libcurl serves one socket for up to 100 buffers before it looks at the others. */
#define BULK_BUFFER_SIZE (128L << 10)
#define SMALL_BUFFER_SIZE (32L << 10)
#define TELL_SIZE (256u << 10) /* news for those who follow a watch */
#define DROP_MAX (256u << 10) /* of an error's body we do not keep */

static void set_failure(struct transport_body *b, enum transport_failure failure, const char *fmt,
			...) __attribute__((format(printf, 3, 4)));

static void set_failure(struct transport_body *b, enum transport_failure failure, const char *fmt,
			...)
{
	va_list args;

	if (b->reply->failure != TRANSPORT_OK)
		return; /* the first is the cause */
	b->reply->failure = failure;
	va_start(args, fmt);
	vsnprintf(b->reply->text, sizeof(b->reply->text), fmt, args);
	va_end(args);
}

/* The last one counts. */
static bool keep_text(char **to, const char *value, size_t value_size)
{
	free(*to);
	*to = strndup(value, value_size);
	return *to;
}

/* Trailers and 1xx responses come this way too: each status line starts over. */
static void forget_headers(struct transport_body *b)
{
	struct transport_reply *r = b->reply;

	r->content_type[0] = r->content_digest[0] = r->retry_after[0] = b->content_range[0] = '\0';
	r->subject_known = false;
	fd_free_memory(&b->location);
	fd_free_memory(&b->link);
	r->challenge.size = 0;
}

static void keep_value(char *to, size_t size, const char *value, size_t value_size)
{
	if (value_size < size) { /* too long is as good as absent: none of them may be that long */
		memcpy(to, value, value_size);
		to[value_size] = '\0';
	}
}

static size_t on_header(char *data, size_t one, size_t size, void *opaque)
{
	struct transport_body *b = opaque;
	struct transport_reply *r = b->reply;
	const char *colon, *value;
	size_t name_size, value_size;

	(void)one;
	b->header_bytes += size;
	if (b->header_bytes > LIMIT_HTTP_HEADER_SIZE) {
		set_failure(b, TRANSPORT_PROTOCOL, "the headers are longer than %u bytes",
			    LIMIT_HTTP_HEADER_SIZE);
		return 0;
	}
	b->head_ended = size > 0 && (data[0] == '\r' || data[0] == '\n');
	if (size >= 5 && memcmp(data, "HTTP/", 5) == 0) {
		forget_headers(b);
		return size;
	}
	colon = memchr(data, ':', size);
	if (!colon || b->begun)
		return size;
	name_size = (size_t)(colon - data);
	value = colon + 1;
	value_size = size - name_size - 1;
	while (value_size && strchr(" \t", *value) && *value)
		value++, value_size--;
	while (value_size && strchr(" \t\r\n", value[value_size - 1]) && value[value_size - 1])
		value_size--;
	if (memchr(value, '\0', value_size))
		return size;
#define IS(name) (name_size == sizeof(name) - 1 && strncasecmp(data, name, sizeof(name) - 1) == 0)
	if (IS("content-type"))
		keep_value(r->content_type, sizeof(r->content_type), value, value_size);
	else if (IS("docker-content-digest"))
		keep_value(r->content_digest, sizeof(r->content_digest), value, value_size);
	else if (IS("retry-after"))
		keep_value(r->retry_after, sizeof(r->retry_after), value, value_size);
	else if (IS("content-range"))
		keep_value(b->content_range, sizeof(b->content_range), value, value_size);
	else if (IS("oci-subject"))
		r->subject_known = true;
	else if (IS("location") && !keep_text(&b->location, value, value_size))
		return 0;
	else if (IS("link") && !keep_text(&b->link, value, value_size))
		return 0;
	else if (IS("www-authenticate") && (bytes_append(&r->challenge, value, value_size) < 0 ||
					    bytes_append(&r->challenge, "\n", 1) < 0))
		return 0;
#undef IS
	return size;
}

/* A 206 must be exactly what was asked for, but may end early; the caller then asks for the rest.
 */
static bool check_partial(struct transport_body *b)
{
	const struct transport_request *q = b->request;
	uint64_t first, last, total;

	if (q->range_size == 0) {
		set_failure(b, TRANSPORT_PROTOCOL, "206 without a range being asked for");
		return false;
	}
	if (http_header_content_range(b->content_range, &first, &last, &total) < 0) {
		set_failure(b, TRANSPORT_PROTOCOL, "206 with Content-Range \"%s\"",
			    b->content_range);
		return false;
	}
	if (first != q->range_off || last - first >= q->range_size) {
		set_failure(b, TRANSPORT_PROTOCOL,
			    "asked for bytes %" PRIu64 "-%" PRIu64 ", got Content-Range \"%s\"",
			    q->range_off, q->range_off + q->range_size - 1, b->content_range);
		return false;
	}
	if (q->total != TRANSPORT_UNKNOWN && total != HTTP_HEADER_UNKNOWN && total != q->total) {
		set_failure(b, TRANSPORT_SIZE, "%" PRIu64 " bytes are there, not %" PRIu64, total,
			    q->total);
		return false;
	}
	b->room = last - first + 1;
	return true;
}

/* The headers are in: where will the body go? */
static bool begin_body(struct transport_body *b)
{
	const struct transport_request *q = b->request;
	struct transport_reply *r = b->reply;
	curl_off_t length = -1;
	long status = 0;

	b->begun = true;
	curl_easy_getinfo(b->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(b->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	r->status = (int)status;
	r->length = length >= 0 ? (uint64_t)length : TRANSPORT_UNKNOWN;
	if (status == 206) {
		b->good = true;
		return check_partial(b);
	}
	if (status != 200)
		return true;
	b->good = true;
	if (q->total != TRANSPORT_UNKNOWN && r->length != TRANSPORT_UNKNOWN &&
	    r->length != q->total) {
		set_failure(b, TRANSPORT_SIZE, "%" PRIu64 " bytes are there, not %" PRIu64,
			    r->length, q->total);
		return false;
	}
	b->skip = q->range_off;
	if (q->range_size && (q->range_off || q->fd < 0 || q->total == TRANSPORT_UNKNOWN))
		b->room = q->range_size;
	else if (q->body)
		b->room = q->body_max;
	else
		b->room = q->total;
	return true;
}

static bool keep_error(struct transport_body *b, const char *data, size_t size)
{
	struct bytes *e = &b->reply->error_body;
	size_t left = LIMIT_ERROR_BODY_SIZE - e->size;

	if (size > left) {
		b->skip += size - left;
		size = left;
	}
	if (b->skip > DROP_MAX) {
		b->satisfied = true;
		return false;
	}
	return bytes_append(e, data, size) == 0;
}

static bool keep_body(struct transport_body *b, const char *data, size_t size)
{
	const struct transport_request *q = b->request;
	struct transport_reply *r = b->reply;
	int err = 0;

	if (q->body)
		err = bytes_append(q->body, data, size);
	else if (q->out)
		memcpy((char *)q->out + r->received, data, size);
	else
		err = fd_pwrite_full(q->fd, data, size, q->range_off + r->received);
	if (err < 0) {
		r->error = -err;
		set_failure(b, TRANSPORT_LOCAL, "%s", strerror(-err));
		return false;
	}
	r->received += size;
	b->room -= size;
	if (r->received - b->told >= TELL_SIZE)
		transport_body_tell(b);
	return true;
}

static size_t on_body(char *data, size_t one, size_t size, void *opaque)
{
	struct transport_body *b = opaque;
	size_t given = size;

	(void)one;
	atomic_fetch_add_explicit(b->body_bytes, size, memory_order_relaxed);
	if (!b->begun && !begin_body(b))
		return CURL_WRITEFUNC_ERROR;
	if (!b->good)
		return keep_error(b, data, size) ? given : CURL_WRITEFUNC_ERROR;
	if (b->skip) {
		size_t n = b->skip < size ? (size_t)b->skip : size;

		b->skip -= n;
		data += n;
		size -= n;
	}
	if (size > b->room) {
		/* Behind a range it is the rest of a 200; behind a whole body it is a lie. */
		b->satisfied = b->request->range_size && b->reply->status == 200;
		if (!b->satisfied)
			set_failure(b, TRANSPORT_SIZE,
				    "more than the %" PRIu64 " bytes that it may have",
				    b->reply->received + b->room);
		else
			keep_body(b, data, (size_t)b->room);
		return CURL_WRITEFUNC_ERROR;
	}
	if (size && !keep_body(b, data, size))
		return CURL_WRITEFUNC_ERROR;
	return given;
}

void transport_body_tell(struct transport_body *b)
{
	struct transport_watch *w = b->request->watch;

	if (!w || b->request->fd < 0 || b->told == b->reply->received)
		return;
	b->told = b->reply->received;
	pthread_mutex_lock(&w->lock);
	w->position = b->request->range_off + b->reply->received;
	pthread_cond_broadcast(&w->moved);
	pthread_mutex_unlock(&w->lock);
}

/* Trust and proxies: everything is set, so that no default of libcurl's or the environment's
 * counts. */
static void set_access(CURL *c, const struct transport_options *o)
{
	long verify = o->tls_no_verify ? 0 : 1;

	curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, verify);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
	curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (o->ca_pem) {
		struct curl_blob pem = {(void *)(uintptr_t)o->ca_pem, o->ca_pem_size,
					CURL_BLOB_NOCOPY};

		curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &pem);
	} else {
		/* Without a directory libcurl keeps the parsed file for all connections. */
		curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	}
	if (o->cert_file) {
		curl_easy_setopt(c, CURLOPT_SSLCERT, o->cert_file);
		curl_easy_setopt(c, CURLOPT_SSLKEY, o->key_file);
	}
	curl_easy_setopt(c, CURLOPT_PROXY, o->proxy ? o->proxy : "");
	curl_easy_setopt(c, CURLOPT_NOPROXY, o->no_proxy ? o->no_proxy : "");
	curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

static int set_headers(struct transport_body *b)
{
	/* "Expect" costs a second with servers that do not know it; who we are was asked before. */
	b->headers = b->request->upload ? curl_slist_append(NULL, "Expect:") : NULL;
	for (const char *const *h = b->request->headers; h && *h; h++) {
		struct curl_slist *l = curl_slist_append(b->headers, *h);

		if (!l)
			return -ENOMEM;
		b->headers = l;
	}
	curl_easy_setopt(b->easy, CURLOPT_HTTPHEADER, b->headers);
	return 0;
}

int transport_body_begin(struct transport_body *b)
{
	const struct transport_request *q = b->request;
	CURL *c = curl_easy_init();
	char range[64];

	if (!c)
		return -ENOMEM;
	b->easy = c;
	curl_easy_setopt(c, CURLOPT_PRIVATE, b);
	curl_easy_setopt(c, CURLOPT_URL, q->url);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 1L);
	curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L); /* a slow resolver must not stop the thread */
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, b->curl_text);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "lazyrun/" LAZYRUN_VERSION);
	/* A stream of its own for what is long: one connection's window does not fill a fast link.
	 */
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION,
			 q->bulk ? (long)CURL_HTTP_VERSION_1_1 : (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(c, CURLOPT_BUFFERSIZE, q->bulk ? BULK_BUFFER_SIZE : SMALL_BUFFER_SIZE);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
			 q->connect_timeout_ms ? (long)q->connect_timeout_ms : CONNECT_TIMEOUT_MS);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)q->timeout_ms);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, b);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, b);
	transport_send_set(b);
	if (q->range_size) {
		snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, q->range_off,
			 q->range_off + q->range_size - 1);
		curl_easy_setopt(c, CURLOPT_RANGE, range);
	}
	set_access(c, q->options);
	return set_headers(b);
}

static bool says_no_tls(const char *text)
{
	static const char *const signs[] = {
		"wrong version number", "http request",		"packet length too long",
		"unexpected message",	"record layer failure", "bad record type",
		"unexpected eof",	"SSL_ERROR_SYSCALL",	"reset by peer",
	};

	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		if (strcasestr(text, signs[i]))
			return true;
	return false;
}

static enum transport_failure classify(struct transport_body *b, CURLcode code)
{
	curl_off_t connected = 0, shaken = 0;
	long connect_status = 0; /* what a proxy said to CONNECT */
	long fresh = 0; /* a connection used again has no times of its own */

	curl_easy_getinfo(b->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
	if (connect_status / 100 == 4)
		return TRANSPORT_PROXY;
	switch ((int)code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return TRANSPORT_UNKNOWN_HOST;
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_PROXY:
		return TRANSPORT_PROXY;
	case CURLE_COULDNT_CONNECT:
		return TRANSPORT_REFUSED;
	case CURLE_SSL_CONNECT_ERROR:
		return says_no_tls(b->curl_text) ? TRANSPORT_NOT_TLS : TRANSPORT_TLS;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return TRANSPORT_CERTIFICATE;
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
		return TRANSPORT_TLS;
	case CURLE_OPERATION_TIMEDOUT:
		curl_easy_getinfo(b->easy, CURLINFO_CONNECT_TIME_T, &connected);
		curl_easy_getinfo(b->easy, CURLINFO_APPCONNECT_TIME_T, &shaken);
		curl_easy_getinfo(b->easy, CURLINFO_NUM_CONNECTS, &fresh);
		b->reply->no_handshake = strncasecmp(b->request->url, "https:", 6) == 0 && fresh &&
					 connected > 0 && shaken == 0;
		return TRANSPORT_TIMEOUT;
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return TRANSPORT_CUT;
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_HTTP_RETURNED_ERROR:
		return TRANSPORT_PROTOCOL;
	default:
		return TRANSPORT_OTHER;
	}
}

/* An address as another one is written in its reply; NULL when it is none. */
static char *resolve(const char *base, const char *text)
{
	CURLU *u = curl_url();
	char *whole = NULL, *copy = NULL;

	if (u && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_URL, text, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_URL, &whole, 0) == CURLUE_OK)
		copy = strdup(whole);
	curl_free(whole);
	curl_url_cleanup(u);
	return copy;
}

void transport_body_end(struct transport_body *b, CURLcode code)
{
	struct transport_reply *r = b->reply;
	char *redirect = NULL, next[2048];

	if (code == CURLE_OK && !b->head_ended)
		set_failure(b, TRANSPORT_CUT, "it ended in the middle of the reply's head");
	else if (code == CURLE_OK && !b->begun)
		begin_body(b); /* an empty one */
	if (code != CURLE_OK && !b->satisfied && r->failure == TRANSPORT_OK) {
		enum transport_failure failure = classify(b, code);

		set_failure(b, failure, "%s",
			    b->curl_text[0] ? b->curl_text : curl_easy_strerror(code));
	}
	if (b->easy)
		curl_easy_getinfo(b->easy, CURLINFO_REDIRECT_URL, &redirect);
	if (redirect && !(r->redirect = strdup(redirect)))
		set_failure(b, TRANSPORT_OTHER, "out of memory");
	if (b->location && r->status / 100 == 2)
		r->location = resolve(b->request->url, b->location);
	if (b->link && http_header_link_next(b->link, next, sizeof(next)) == 0)
		r->next = resolve(b->request->url, next);
	fd_free_memory(&b->location);
	fd_free_memory(&b->link);
	if (bytes_terminate(&r->challenge) < 0 || bytes_terminate(&r->error_body) < 0)
		set_failure(b, TRANSPORT_OTHER, "out of memory");
	transport_body_tell(b);
	curl_easy_cleanup(b->easy);
	curl_slist_free_all(b->headers);
	b->easy = NULL;
	b->headers = NULL;
}
