/* Nodeids say what they mean, in both directions, and stay below 2^60. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/node.h"

static void packs_and_unpacks(void **state)
{
	static const struct {
		uint64_t nodeid;
		struct node node;
	} cases[] = {
		{NODEID_ROOT, {.kind = NODE_ROOT, .nid = 1}},
		{NODEID_IMAGES, {.kind = NODE_IMAGES, .nid = 2}},
		{UINT64_C(1) << 32, {NODE_FILE, 1, 0, 0}},
		{UINT64_C(7) << 32 | 36, {NODE_FILE, 7, 0, 36}},
		{UINT64_C(0x3ffffffffffffff), {NODE_FILE, (1u << 26) - 1, 0, UINT32_MAX}},
		{UINT64_C(1) << 58 | UINT64_C(1) << 40, {NODE_DIR, 1, 0, 0}},
		{UINT64_C(0x7ffffffffffffff), {NODE_DIR, (1u << 18) - 1, 255, UINT32_MAX}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct node *want = &cases[i].node;
		struct node n;

		assert_true(node_unpack(cases[i].nodeid, &n));
		assert_int_equal(n.kind, want->kind);
		assert_int_equal(n.number, want->number);
		assert_int_equal(n.position, want->position);
		assert_int_equal(n.nid, want->nid);
		assert_true(cases[i].nodeid < UINT64_C(1) << 60);
		if (n.kind == NODE_FILE)
			assert_int_equal(node_pack_file(n.number, n.nid), cases[i].nodeid);
		if (n.kind == NODE_DIR)
			assert_int_equal(node_pack_dir(n.number, n.position, n.nid), cases[i].nodeid);
	}
}

static void refuses_numbers_that_we_never_gave(void **state)
{
	static const uint64_t cases[] = {
		0, 3, UINT32_MAX, UINT64_C(1) << 58, UINT64_C(1) << 58 | UINT64_C(255) << 32, UINT64_C(1) << 59,
		UINT64_MAX};
	struct node n;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_false(node_unpack(cases[i], &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packs_and_unpacks),
		cmocka_unit_test(refuses_numbers_that_we_never_gave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
