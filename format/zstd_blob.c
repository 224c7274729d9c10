/* One frame, packed and unpacked in one step. */
#include "format/zstd_blob.h"

#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/fd.h"

static int pack_into(ZSTD_CCtx *context, const void *data, size_t size, struct bytes *ret)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	size_t n;
	int r = bytes_reserve(&b, ZSTD_compressBound(size));

	if (r < 0)
		return r;
	ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, ZSTD_BLOB_LEVEL);
	ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1);
	n = ZSTD_compress2(context, b.data, b.capacity, data, size);
	if (ZSTD_isError(n))
		return -ENOMEM; /* the only one left with room for the bound */
	b.size = n;
	*ret = b;
	b = (struct bytes){0};
	return 0;
}

int zstd_blob_pack(const void *data, size_t size, struct bytes *ret)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();
	int r = context ? pack_into(context, data, size, ret) : -ENOMEM;

	ZSTD_freeCCtx(context);
	return r;
}

size_t zstd_blob_first(const void *data, size_t size)
{
	size_t n = ZSTD_findFrameCompressedSize(data, size);

	return ZSTD_isError(n) ? size : n;
}

int zstd_blob_size(const void *data, size_t size, uint64_t max, size_t *ret)
{
	unsigned long long plain = ZSTD_getFrameContentSize(data, size);
	size_t packed = ZSTD_findFrameCompressedSize(data, size);

	if (plain == ZSTD_CONTENTSIZE_UNKNOWN || plain == ZSTD_CONTENTSIZE_ERROR || ZSTD_isError(packed) ||
	    packed != size)
		return -EBADMSG;
	if (plain > max || plain > SIZE_MAX)
		return -EFBIG;
	*ret = (size_t)plain;
	return 0;
}

int zstd_blob_unpack(const void *data, size_t size, void *plain, size_t plain_size)
{
	size_t n = ZSTD_decompress(plain, plain_size, data, size);

	if (ZSTD_isError(n))
		return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
	return n == plain_size ? 0 : -EBADMSG;
}
