/* WWW-Authenticate, Content-Range, Retry-After and Link as a hostile registry may send them. */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "fetch/http_header.h"
#include "fetch/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = {0};
	struct http_challenge c;
	uint64_t first, last, total;
	const char *text, *at;
	char next[64];

	if (bytes_append(&b, data, size) < 0 || bytes_terminate(&b) < 0)
		return 0;
	text = at = (const char *)b.data;
	for (const char *before = at; http_header_challenge(&at, &c) == 0; before = at) {
		struct url_origin o;

		assert(at > before);
		if (url_origin_parse(c.realm, &o) == 0)
			assert(o.host[0] && o.port);
	}
	if (http_header_content_range(text, &first, &last, &total) == 0)
		assert(first <= last && last < total);
	http_header_retry_after(text, 0, &total);
	if (http_header_link_next(text, next, sizeof(next)) == 0)
		assert(strlen(next) < sizeof(next) && strstr(text, next));
	bytes_free(&b);
	return 0;
}
