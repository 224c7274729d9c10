/* Bytes are read when libcurl has room for them. */
#include "fetch/transport_send.h"

#include <stdio.h>
#include <string.h>

#include "base/fd.h"

#define UPLOAD_STALL_SECONDS 120 /* a registry hashes and moves a large blob before it answers */

static size_t on_send(char *to, size_t one, size_t size, void *opaque)
{
	struct transport_body *b = opaque;
	const struct transport_upload *u = b->request->upload;
	uint64_t left = u->size - b->sent;
	int err = 0;

	(void)one;
	if (size > left)
		size = (size_t)left;
	if (u->data)
		memcpy(to, (const char *)u->data + u->off + b->sent, size);
	else
		err = fd_pread_full(u->fd, to, size, u->off + b->sent);
	if (err < 0) {
		b->reply->error = -err;
		b->reply->failure = TRANSPORT_LOCAL;
		snprintf(b->reply->text, sizeof(b->reply->text), "reading what is to be sent: %s", strerror(-err));
		return CURL_READFUNC_ABORT;
	}
	b->sent += size;
	return size;
}

/* libcurl starts over when a connection that it used again turns out dead. */
static int on_rewind(void *opaque, curl_off_t off, int whence)
{
	struct transport_body *b = opaque;

	if (whence != SEEK_SET || off < 0 || (uint64_t)off > b->request->upload->size)
		return CURL_SEEKFUNC_CANTSEEK;
	b->sent = (uint64_t)off;
	return CURL_SEEKFUNC_OK;
}

void transport_send_set(struct transport_body *b)
{
	const struct transport_request *q = b->request;
	CURL *c = b->easy;

	if (q->form)
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, q->form);
	if (q->upload) {
		curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->upload->size);
		curl_easy_setopt(c, CURLOPT_READFUNCTION, on_send);
		curl_easy_setopt(c, CURLOPT_READDATA, b);
		curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_rewind);
		curl_easy_setopt(c, CURLOPT_SEEKDATA, b);
		curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)UPLOAD_STALL_SECONDS);
	} else if (q->method && strcmp(q->method, "POST") == 0) {
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, "");
	} else if (q->method && strcmp(q->method, "HEAD") == 0) {
		curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	}
	if (q->method && strcmp(q->method, "HEAD") != 0)
		curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
}
