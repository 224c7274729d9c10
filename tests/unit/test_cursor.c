/* cursor never reads past its bytes, whatever length it is asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/cursor.h"

static void rejects_lengths_that_wrap(void **state)
{
	const uint8_t data[4] = {1, 2, 3, 4};
	struct cursor c = {data, sizeof(data), 2};
	const uint8_t *at;

	(void)state;
	assert_int_equal(cursor_take(&c, SIZE_MAX, &at), -EBADMSG);
	assert_int_equal(cursor_take(&c, SIZE_MAX - 1, &at), -EBADMSG);
	assert_int_equal(cursor_take(&c, 3, &at), -EBADMSG);
	assert_int_equal(c.pos, 2);
	assert_int_equal(cursor_take(&c, 2, &at), 0);
	assert_ptr_equal(at, data + 2);
	assert_int_equal(cursor_take(&c, 0, &at), 0);
	assert_int_equal(cursor_take(&c, 1, &at), -EBADMSG);
}

static void reads_little_endian(void **state)
{
	const uint8_t data[15] = {1, 0x34, 0x12, 4, 3, 2, 1, 8, 7, 6, 5, 4, 3, 2, 1};
	struct cursor c = {data, sizeof(data), 0};
	uint8_t a;
	uint16_t b;
	uint32_t d;
	uint64_t e;

	(void)state;
	assert_int_equal(cursor_u8(&c, &a), 0);
	assert_int_equal(cursor_u16(&c, &b), 0);
	assert_int_equal(cursor_u32(&c, &d), 0);
	assert_int_equal(cursor_u64(&c, &e), 0);
	assert_int_equal(a, 1);
	assert_int_equal(b, 0x1234);
	assert_int_equal(d, 0x01020304);
	assert_true(e == UINT64_C(0x0102030405060708));
	assert_int_equal(cursor_u8(&c, &a), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rejects_lengths_that_wrap),
		cmocka_unit_test(reads_little_endian),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
