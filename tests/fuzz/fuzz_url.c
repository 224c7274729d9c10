/* An address from a Location or a realm: what is taken as its host is in it, and stays one host. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "fetch/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes text = {0}, coded = {0};
	struct url_origin o;

	if (bytes_append(&text, data, size) < 0 || bytes_terminate(&text) < 0)
		return 0;
	if (url_origin_parse((const char *)text.data, &o) == 0) {
		assert(o.host[0] && o.port && !strpbrk(o.host, "@/?#\\ ") && strcasestr((const char *)text.data, o.host));
		assert(url_origin_equal(&o, &o));
		url_host_is_loopback(o.host);
	}
	if (url_encode(&coded, (const char *)text.data) == 0 && bytes_terminate(&coded) == 0)
		assert(!strpbrk((const char *)coded.data, "&=?#/ \r\n"));
	bytes_free(&text);
	bytes_free(&coded);
	return 0;
}
