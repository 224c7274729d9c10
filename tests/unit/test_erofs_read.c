/* erofs_read finds what lies in an index, and never leaves its bytes whatever they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "format/erofs_format.h"
#include "format/erofs_read.h"

#define ROOT_OFF EROFS_FIRST_INODE_OFF
#define FILE_OFF (ROOT_OFF + 64)
#define DIR_OFF 2048

struct image { /* a root with one file "a" of 5 bytes at block 3 of the layer file */
	uint8_t data[DIR_OFF + EROFS_BLOCK];
};

static void put_super(struct image *i)
{
	struct erofs_disk_super super = {
		.magic = htole32(EROFS_MAGIC),
		.block_bits = EROFS_BLOCK_BITS,
		.root_nid = htole16(ROOT_OFF / 32),
		.n_inodes = htole64(2),
		.n_blocks = htole32(sizeof(i->data) / EROFS_BLOCK),
		.feature_incompat = htole32(EROFS_INCOMPAT),
		.n_devices = htole16(1),
		.device_slot = htole16(EROFS_DEVICE_SLOT),
	};
	struct erofs_disk_device device = {.n_blocks = htole32(8)};

	memcpy(i->data + EROFS_SUPER_OFF, &super, sizeof(super));
	memcpy(i->data + 128 * EROFS_DEVICE_SLOT, &device, sizeof(device));
}

static void make(struct image *i)
{
	struct erofs_disk_inode root = {.format = htole16(EROFS_FORMAT(EROFS_FLAT_PLAIN)),
					.mode = htole16(S_IFDIR | 0755),
					.size = htole64(EROFS_BLOCK),
					.u = htole32(DIR_OFF / EROFS_BLOCK),
					.nlink = htole32(2)};
	struct erofs_disk_inode file = {.format = htole16(EROFS_FORMAT(EROFS_CHUNK_BASED)),
					.mode = htole16(S_IFREG | 0644),
					.size = htole64(5),
					.u = htole32(EROFS_CHUNK_INDEXES),
					.mtime = htole64((uint64_t)-7),
					.nlink = htole32(1)};
	struct erofs_disk_chunk chunk = {.device = htole16(1), .block = htole32(3)};
	struct erofs_disk_dirent d[3] = {
		{htole64(ROOT_OFF / 32), htole16(36), EROFS_FT_DIRECTORY, 0},
		{htole64(ROOT_OFF / 32), htole16(37), EROFS_FT_DIRECTORY, 0},
		{htole64(FILE_OFF / 32), htole16(39), EROFS_FT_FILE, 0},
	};

	memset(i, 0, sizeof(*i));
	put_super(i);
	memcpy(i->data + ROOT_OFF, &root, sizeof(root));
	memcpy(i->data + FILE_OFF, &file, sizeof(file));
	memcpy(i->data + FILE_OFF + 64, &chunk, sizeof(chunk));
	memcpy(i->data + DIR_OFF, d, sizeof(d));
	memcpy(i->data + DIR_OFF + 36, "...a", 4);
}

static void finds_what_is_there(void **state)
{
	struct image i;
	struct erofs_read e;
	struct erofs_inode root, inode;
	struct erofs_entry entry;
	uint64_t cookie = 0;
	uint32_t nid;

	(void)state;
	make(&i);
	assert_int_equal(erofs_read_open(i.data, sizeof(i.data), &e), 0);
	assert_int_equal(e.layer_file_size, 4096);
	assert_int_equal(e.generation, 1); /* the UUID is zero here */
	assert_int_equal(erofs_read_inode(&e, e.root_nid, &root), 0);
	assert_int_equal(erofs_read_lookup(&e, &root, "a", 1, &nid), 0);
	assert_int_equal(erofs_read_lookup(&e, &root, "", 0, &nid), -ENOENT);
	assert_int_equal(erofs_read_lookup(&e, &root, "b", 1, &nid), -ENOENT);
	assert_int_equal(erofs_read_lookup(&e, &root, "a", 1, &nid), 0);
	assert_int_equal(erofs_read_inode(&e, nid, &inode), 0);
	assert_int_equal(inode.mode, S_IFREG | 0644);
	assert_true(inode.mtime == -7);
	assert_int_equal(inode.data_off, 3 * 512);
	assert_int_equal(erofs_read_lookup(&e, &inode, "a", 1, &nid), -ENOTDIR);
	for (const char *const *name = (const char *const[]){".", "..", "a", NULL}; *name; name++) {
		assert_int_equal(erofs_read_entry(&e, &root, &cookie, &entry), 1);
		assert_int_equal(entry.name_size, strlen(*name));
		assert_memory_equal(entry.name, *name, entry.name_size);
		assert_int_equal(entry.type, **name == 'a' ? DT_REG : DT_DIR);
	}
	assert_int_equal(erofs_read_entry(&e, &root, &cookie, &entry), 0);
}

static void refuses_fields_that_point_outside(void **state)
{
	static const struct {
		size_t off;
		uint8_t size, value[8];
		int open, inode, lookup; /* of "a" */
	} cases[] = {
		{EROFS_SUPER_OFF, 1, {0}, -EBADMSG, 0, 0},
		{EROFS_SUPER_OFF + 12, 1, {12}, -EOPNOTSUPP, 0, 0},
		{EROFS_SUPER_OFF + 14, 2, {0xff, 0xff}, -EBADMSG, 0, 0},      /* root */
		{EROFS_SUPER_OFF + 14, 2, {FILE_OFF / 32, 0}, -EBADMSG, 0, 0}, /* root is a file */
		{EROFS_SUPER_OFF + 36, 4, {0xff, 0xff}, -EBADMSG, 0, 0},      /* blocks */
		{EROFS_SUPER_OFF + 80, 1, {0x0d}, -EOPNOTSUPP, 0, 0},	      /* another feature */
		{ROOT_OFF + 8, 8, {0, 4}, -EBADMSG, 0, 0},		      /* directory too long */
		{ROOT_OFF + 8, 8, {0, 0, 0, 0, 0, 0, 0, 0x80}, -EBADMSG, 0, 0},
		{ROOT_OFF + 16, 4, {0xff, 0xff, 0xff, 0xff}, -EBADMSG, 0, 0},
		{ROOT_OFF + 2, 2, {0xff, 0xff}, -EBADMSG, 0, 0}, /* xattrs */
		{FILE_OFF + 8, 8, {1, 10}, 0, -EOPNOTSUPP, 0},	 /* more than one chunk */
		{FILE_OFF + 64 + 4, 4, {8}, 0, -EBADMSG, 0},	 /* behind the layer file */
		{FILE_OFF + 64 + 2, 1, {2}, 0, -EOPNOTSUPP, 0},	 /* another device */
		{FILE_OFF + 5, 1, {0xc1}, 0, -EBADMSG, 0},	 /* a socket */
		{FILE_OFF + 40, 4, {0, 0xca, 0x9a, 0x3b}, 0, -EBADMSG, 0},
		{DIR_OFF + 8, 2, {0, 2}, 0, 0, -EBADMSG},
		{DIR_OFF + 8, 2, {35, 0}, 0, 0, -EBADMSG},
		{DIR_OFF + 24 + 8, 2, {0, 2}, 0, 0, -EBADMSG},
		{DIR_OFF + 24 + 8, 2, {37, 0}, 0, 0, -EBADMSG},
		{DIR_OFF + 24 + 10, 1, {9}, 0, 0, -EBADMSG},
		{DIR_OFF + 24 + 4, 1, {1}, 0, 0, -EBADMSG}, /* nid past 32 bits */
		{DIR_OFF + 39, 1, {'/'}, 0, 0, -EBADMSG},
		{DIR_OFF + 39, 1, {0}, 0, 0, -EBADMSG},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct image i;
		struct erofs_read e;
		struct erofs_inode root, inode;
		uint32_t nid;
		int r;

		make(&i);
		memcpy(i.data + cases[k].off, cases[k].value, cases[k].size);
		r = erofs_read_open(i.data, sizeof(i.data), &e);
		if (r != cases[k].open)
			fail_msg("case %zu: open gives %d", k, r);
		if (r < 0)
			continue;
		if (cases[k].inode) {
			r = erofs_read_inode(&e, FILE_OFF / 32, &inode);
			if (r != cases[k].inode)
				fail_msg("case %zu: inode gives %d", k, r);
		}
		assert_int_equal(erofs_read_inode(&e, e.root_nid, &root), 0);
		r = erofs_read_lookup(&e, &root, "a", 1, &nid);
		if (r != cases[k].lookup)
			fail_msg("case %zu: lookup gives %d", k, r);
	}
}

static void refuses_what_is_cut_short(void **state)
{
	struct image i;
	struct erofs_read e;

	(void)state;
	make(&i);
	for (size_t size = 0; size < sizeof(i.data); size += 16)
		assert_int_equal(erofs_read_open(i.data, size, &e), -EBADMSG);
}

/* LIMIT_LAYER_INDEX_SIZE; what lies behind the blocks that the superblock counts is not looked at */
static void as_large_as_allowed(void **state)
{
	struct image i;
	struct erofs_read e;

	(void)state;
	make(&i);
	assert_int_equal(erofs_read_open(i.data, LIMIT_LAYER_INDEX_SIZE - 1, &e), 0);
	assert_int_equal(erofs_read_open(i.data, LIMIT_LAYER_INDEX_SIZE, &e), 0);
	assert_int_equal(erofs_read_open(i.data, LIMIT_LAYER_INDEX_SIZE + 1, &e), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_is_there),
		cmocka_unit_test(refuses_fields_that_point_outside),
		cmocka_unit_test(refuses_what_is_cut_short),
		cmocka_unit_test(as_large_as_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
