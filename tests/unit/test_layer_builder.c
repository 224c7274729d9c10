/* layer_builder: what a layer's members say is what its index holds, and what they must not say is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/report.h" /* before cmocka, which has a macro fail() */

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "tests/unit/layer_fixture.h"

static void build(const struct tar_member *members, struct fixture *f)
{
	int r = fixture_build(members, f);

	if (r < 0)
		fail_msg("not built: %d", r);
}

static struct erofs_inode at(const struct fixture *f, const char *path)
{
	struct erofs_inode inode;
	int r = fixture_find(f, path, &inode);

	if (r < 0)
		fail_msg("%s: %d", path, r);
	return inode;
}

static bool opaque(const struct fixture *f, const char *path)
{
	struct erofs_inode inode = at(f, path);

	return erofs_read_is_opaque(&f->read, &inode);
}

static bool has_xattr(const struct fixture *f, const char *path, const char *name, const char *expected)
{
	struct erofs_inode inode = at(f, path);
	const void *value;
	size_t size;

	return erofs_read_xattr(&f->read, &inode, name, &value, &size) == 0 && size == strlen(expected) &&
	       memcmp(value, expected, size) == 0;
}

static bool missing(const struct fixture *f, const char *path)
{
	struct erofs_inode inode;

	return fixture_find(f, path, &inode) == -ENOENT;
}

static void keeps_all_attributes(void **state)
{
	const struct tar_xattr xattrs[] = {
		{"user.b", "2", 1},	{"user.a", "old", 3},
		{"user.a", "new", 3},	{"security.capability", "\1\0\0\2", 4},
		{"user.empty", "", 0},	{"trusted.overlay.redirect", "/etc", 4},
		{"com.apple.x", "y", 1}, {"user.overlay.opaque", "y", 1},
		{"system.posix_acl_access", "\2\0\0\0", 4},
	};
	const struct tar_member members[] = {
		{.type = TAR_FILE, .path = "f", .link = "", .mode = 04755, .uid = 70000, .gid = 4000000000u,
		 .mtime = -3, .mtime_nsec = 999999999, .size = 1000, .body_off = 512, .xattrs = xattrs,
		 .n_xattrs = sizeof(xattrs) / sizeof(xattrs[0])},
		{.type = TAR_BLOCK_DEVICE, .path = "b", .link = "", .major = 4095, .minor = 0xfffff},
		{.type = TAR_CHARACTER_DEVICE, .path = "c", .link = "", .major = 5, .minor = 300},
		{.type = TAR_FIFO, .path = "p", .link = "", .mode = 0600},
		SYMLINK("l", "target"),
		EMPTY("e"),
		{0},
	};
	struct erofs_xattr x;
	struct erofs_inode i;
	struct fixture f;
	const char *target;
	uint64_t cookie = 0;
	size_t size;
	int n = 0;

	(void)state;
	build(members, &f);
	i = at(&f, "f");
	assert_int_equal(i.mode, S_IFREG | 04755);
	assert_int_equal(i.uid, 70000);
	assert_true(i.gid == 4000000000u);
	assert_true(i.mtime == -3 && i.mtime_nsec == 999999999);
	assert_int_equal(i.size, 1000);
	assert_int_equal(i.data_off, 512);
	assert_int_equal(i.nlink, 1);
	while (erofs_read_xattr_next(&f.read, &i, &cookie, &x) == 1)
		n++;
	assert_int_equal(n, 5);
	assert_true(has_xattr(&f, "f", "user.a", "new"));
	assert_true(has_xattr(&f, "f", "user.empty", ""));
	assert_int_equal(erofs_read_xattr(&f.read, &i, "system.posix_acl_access", (const void **)&target, &size), 0);
	i = at(&f, "b");
	assert_true(S_ISBLK(i.mode) && i.major == 4095 && i.minor == 0xfffff);
	i = at(&f, "c");
	assert_true(S_ISCHR(i.mode) && i.major == 5 && i.minor == 300);
	assert_true(at(&f, "p").mode == (S_IFIFO | 0600));
	i = at(&f, "l");
	assert_int_equal(erofs_read_symlink(&f.read, &i, &target, &size), 0);
	assert_true(size == 6 && memcmp(target, "target", 6) == 0);
	assert_int_equal(at(&f, "e").size, 0);
	assert_true(at(&f, "").implied);
	fixture_free(&f);
}

static void the_last_member_of_a_name_wins(void **state)
{
	const struct tar_member members[] = {
		DIR_AT("d", 0700),	EMPTY("d/kept"),	DIR_AT("d/", 0711), /* attributes only */
		DIR_AT("to_file", 0755), EMPTY("to_file/x"),	FILE_AT("./to_file", 512, 3),
		EMPTY("to_dir"),	DIR_AT("to_dir", 0750), EMPTY("to_dir/y"),
		FILE_AT("twice", 512, 1), FILE_AT("/twice", 1024, 2),
		DIR_AT("./", 0705),
		{0},
	};
	struct fixture f;

	(void)state;
	build(members, &f);
	assert_int_equal(at(&f, "d").mode, S_IFDIR | 0711);
	at(&f, "d/kept");
	assert_int_equal(at(&f, "to_file").size, 3);
	assert_int_equal(at(&f, "to_dir").mode, S_IFDIR | 0750);
	at(&f, "to_dir/y");
	assert_true(opaque(&f, "to_dir")); /* the file had removed what is below */
	assert_false(opaque(&f, "d"));
	assert_int_equal(at(&f, "twice").data_off, 1024);
	assert_int_equal(at(&f, "").mode, S_IFDIR | 0705);
	assert_false(at(&f, "").implied);
	assert_int_equal(at(&f, "").nlink, 4);
	fixture_free(&f);
}

static void hard_links_share_an_inode(void **state)
{
	const struct tar_member members[] = {
		FILE_AT("a/f", 512, 9), LINK("b", "./a/f"), LINK("c", "/b"), LINK("c", "c"),
		EMPTY("gone"),		LINK("stays", "gone"), FILE_AT("gone", 1024, 5),
		SYMLINK("s", "x"),	LINK("s2", "s"),
		DIR_AT("dir", 0755),	FILE_AT("dir/in", 2048, 7), LINK("out", "dir/in"), EMPTY("dir"),
		{0},
	};
	struct fixture f;

	(void)state;
	build(members, &f);
	assert_int_equal(at(&f, "a/f").nid, at(&f, "b").nid);
	assert_int_equal(at(&f, "a/f").nid, at(&f, "c").nid);
	assert_int_equal(at(&f, "c").nlink, 3);
	assert_int_equal(at(&f, "stays").size, 0);
	assert_int_equal(at(&f, "stays").nlink, 1);
	assert_int_equal(at(&f, "gone").size, 5);
	assert_int_equal(at(&f, "s2").nid, at(&f, "s").nid);
	assert_int_equal(at(&f, "out").size, 7);
	assert_int_equal(at(&f, "out").nlink, 1);
	assert_true(at(&f, "a").implied);
	fixture_free(&f);
}

static void whiteouts_hide_lower_layers_only(void **state)
{
	const struct tar_member members[] = {
		EMPTY("d/.wh.gone"),  EMPTY("d/.wh..wh.plnk/12"),
		EMPTY("before"),      EMPTY(".wh.before"),
		EMPTY(".wh.after"),   EMPTY("after"),
		EMPTY("dir/x"),	      EMPTY(".wh.dir"),
		EMPTY(".wh.dir2"),    EMPTY("dir2/x"),
		EMPTY("o/.wh..wh..opq"), EMPTY("o/y"),
		EMPTY("both/.wh..wh..opq"), EMPTY("both/.wh.z"),
		{0},
	};
	struct erofs_inode i;
	struct fixture f;

	(void)state;
	build(members, &f);
	i = at(&f, "d/gone");
	assert_true(erofs_inode_is_whiteout(&i));
	assert_true(has_xattr(&f, "d", "trusted.overlay.origin", ""));
	assert_true(missing(&f, "d/.wh..wh.plnk"));
	assert_true(S_ISREG(at(&f, "before").mode) && S_ISREG(at(&f, "after").mode));
	assert_true(opaque(&f, "dir") && opaque(&f, "dir2") && opaque(&f, "o") && opaque(&f, "both"));
	at(&f, "dir/x");
	at(&f, "dir2/x");
	at(&f, "o/y");
	assert_true(has_xattr(&f, "both", "trusted.overlay.origin", ""));
	assert_false(has_xattr(&f, "o", "trusted.overlay.origin", ""));
	assert_false(has_xattr(&f, "", "trusted.overlay.origin", ""));
	assert_false(opaque(&f, "d"));
	fixture_free(&f);
}

static void sparse_files_stand_behind_the_tar(void **state)
{
	const struct tar_fragment three[] = {{0, 100, 512}, {8192, 512, 1024}, {100000, 0, 1536}};
	const struct tar_fragment whole[] = {{0, 700, 2048}};
	const struct tar_member members[] = {
		{.type = TAR_FILE, .path = "s", .link = "", .size = 100000, .sparse = true, .fragments = three, .n_fragments = 3},
		{.type = TAR_FILE, .path = "w", .link = "", .size = 700, .sparse = true, .fragments = whole, .n_fragments = 1},
		{.type = TAR_FILE, .path = "z", .link = "", .size = 5000, .sparse = true},
		{0},
	};
	struct layer_builder *b = NULL;
	struct layer_copy c;
	struct fixture f = {0};
	uint64_t cookie = 0;

	(void)state;
	assert_int_equal(layer_builder_new(&b), 0);
	for (int i = 0; members[i].path; i++)
		assert_int_equal(layer_builder_add(b, &members[i]), 0);
	assert_int_equal(fixture_finish(b, 10240, &f), 0);
	assert_int_equal(at(&f, "s").data_off, 12288);
	assert_int_equal(at(&f, "w").data_off, 2048);
	assert_int_equal(at(&f, "z").data_off, 12288 + 102400);
	assert_int_equal(f.layer_size, 12288 + 102400 + 8192);
	assert_int_equal(layer_builder_copy(b, &cookie, &c), 1);
	assert_true(c.from_off == 512 && c.to_off == 12288 && c.size == 100);
	assert_int_equal(layer_builder_copy(b, &cookie, &c), 1);
	assert_true(c.from_off == 1024 && c.to_off == 12288 + 8192 && c.size == 512);
	assert_int_equal(layer_builder_copy(b, &cookie, &c), 0);
	layer_builder_free(&b);
	fixture_free(&f);
}

static void refuses(const struct tar_member *members, int code, const char *text)
{
	static char report[REPORT_TEXT_SIZE];
	struct fixture f;
	int r;

	report_capture(report);
	r = fixture_build(members, &f);
	report_capture(NULL);
	if (r != code || !strstr(report, text))
		fail_msg("expected %d and \"%s\", got %d and \"%s\"", code, text, r, report);
	fixture_free(&f);
}

static void refuses_what_no_layer_may_say(void **state)
{
	char long_target[LIMIT_PATH_SIZE + 2] = "";
	static const uint8_t zeros[LIMIT_XATTR_VALUE_SIZE + 1];
	const struct tar_xattr large = {"user.x", zeros, sizeof(zeros)};
	const struct tar_xattr many[] = {{"user.x", zeros, 65535}, {"user.y", zeros, 65535}, {"user.z", zeros, 9}};

	(void)state;
	memset(long_target, 'x', sizeof(long_target) - 1);
	refuses((struct tar_member[]){EMPTY("a/../b"), {0}}, -EBADMSG, "a/../b");
	refuses((struct tar_member[]){EMPTY("./"), {0}}, -EBADMSG, "root");
	refuses((struct tar_member[]){LINK("a", "b"), EMPTY("b"), {0}}, -EBADMSG, "hard link to b");
	refuses((struct tar_member[]){LINK("a", "a"), {0}}, -EBADMSG, "hard link to a");
	refuses((struct tar_member[]){EMPTY(".wh.w"), LINK("a", "w"), {0}}, -EBADMSG, "hard link to w");
	refuses((struct tar_member[]){DIR_AT("d", 0755), LINK("a", "d"), {0}}, -EBADMSG, "is a directory");
	refuses((struct tar_member[]){LINK("a", "../etc/passwd"), {0}}, -EBADMSG, "../etc/passwd");
	refuses((struct tar_member[]){SYMLINK("s", "/etc"), EMPTY("s/passwd"), {0}}, -EBADMSG,
		"s/passwd: below s, which is a symlink");
	refuses((struct tar_member[]){EMPTY("f"), EMPTY("f/x/y"), {0}}, -EBADMSG, "below f, which is a file");
	refuses((struct tar_member[]){{.type = TAR_CHARACTER_DEVICE, .path = "c", .link = ""}, {0}}, -EBADMSG, "0:0");
	refuses((struct tar_member[]){{.type = TAR_BLOCK_DEVICE, .path = "c", .link = "", .major = 4096}, {0}},
		-EBADMSG, "4096:0");
	refuses((struct tar_member[]){SYMLINK("s", ""), {0}}, -EBADMSG, "symlink to nothing");
	refuses((struct tar_member[]){SYMLINK("s", long_target), {0}}, -EFBIG, "4096 bytes");
	refuses((struct tar_member[]){FILE_AT("f", 100, 5), {0}}, -EBADMSG, "multiple of 512");
	refuses((struct tar_member[]){FILE_AT("f", 512, 1 << 20), {0}}, -EBADMSG, "inside a file");
	refuses((struct tar_member[]){FILE_AT("f", 512, LIMIT_LAYER_FILE_SIZE + 1), {0}}, -EFBIG, "f: ");
	refuses((struct tar_member[]){{.type = TAR_FIFO, .path = "p", .link = "", .xattrs = &large, .n_xattrs = 1}, {0}},
		-EFBIG, "user.x has 65536 bytes");
	refuses((struct tar_member[]){{.type = TAR_FIFO, .path = "p", .link = "", .xattrs = many, .n_xattrs = 3}, {0}},
		-EFBIG, "xattrs of more than");
}

/* As a global pax header does it: xattrs that are there once in the tar, and at each member. */
static void memory_follows_the_tar(void **state)
{
	static uint8_t zeros[65535];
	const struct tar_xattr x = {"user.x", zeros, sizeof(zeros)};
	struct layer_builder *b = NULL;
	char name[16], report[REPORT_TEXT_SIZE];
	int r = 0, i;

	(void)state;
	assert_int_equal(layer_builder_new(&b), 0);
	report_capture(report);
	for (i = 0; r == 0 && i < 10000; i++) {
		struct tar_member m = {.type = TAR_FIFO, .path = name, .link = "", .body_off = 512 * (i + 1), .xattrs = &x,
				       .n_xattrs = 1};

		snprintf(name, sizeof(name), "f%d", i);
		r = layer_builder_add(b, &m);
	}
	report_capture(NULL);
	assert_int_equal(r, -EFBIG);
	assert_true(i < 6000);
	layer_builder_free(&b);
}

/* Names and symlinks of all sizes, so that each way to lie on a block edge occurs. */
static void all_sizes_fit(void **state)
{
	struct layer_builder *b = NULL;
	struct fixture f = {0};
	char name[300], target[LIMIT_PATH_SIZE + 1];

	(void)state;
	assert_int_equal(layer_builder_new(&b), 0);
	for (int i = 1; i <= (int)LIMIT_PATH_SIZE; i += i < 600 ? 1 : 97) {
		struct tar_member m = SYMLINK(name, target);

		memset(name, 'n', sizeof(name));
		name[snprintf(name, sizeof(name), "%05d", i)] = 'n';
		name[i % 250 + 5] = '\0';
		memset(target, 't', sizeof(target));
		target[i] = '\0';
		assert_int_equal(layer_builder_add(b, &m), 0);
	}
	assert_int_equal(fixture_finish(b, 0, &f), 0);
	assert_int_equal(f.layer_size, 0);
	for (int i = 1; i <= (int)LIMIT_PATH_SIZE; i += i < 600 ? 1 : 97) {
		struct erofs_inode inode;
		const char *found;
		size_t size;

		memset(name, 'n', sizeof(name));
		name[snprintf(name, sizeof(name), "%05d", i)] = 'n';
		name[i % 250 + 5] = '\0';
		inode = at(&f, name);
		assert_int_equal(erofs_read_symlink(&f.read, &inode, &found, &size), 0);
		assert_int_equal(size, i);
		assert_memory_equal(found, target, size);
	}
	layer_builder_free(&b);
	fixture_free(&f);
}

static void the_order_of_members_does_not_show(void **state)
{
	const struct tar_member one[] = {DIR_AT("d", 0700), EMPTY("d/a"), EMPTY("d/b"), SYMLINK("e", "x"), {0}};
	const struct tar_member two[] = {SYMLINK("e", "x"), EMPTY("d/b"), EMPTY("d/a"), DIR_AT("d", 0700), {0}};
	struct fixture f, g;

	(void)state;
	build(one, &f);
	build(two, &g);
	assert_int_equal(f.size, g.size);
	assert_memory_equal(f.data, g.data, f.size);
	assert_int_not_equal(f.read.generation, 1);
	fixture_free(&g);
	build((const struct tar_member[]){DIR_AT("d", 0701), {0}}, &g);
	assert_memory_not_equal(f.read.uuid, g.read.uuid, 16);
	fixture_free(&g);
	fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_all_attributes),
		cmocka_unit_test(the_last_member_of_a_name_wins),
		cmocka_unit_test(hard_links_share_an_inode),
		cmocka_unit_test(whiteouts_hide_lower_layers_only),
		cmocka_unit_test(sparse_files_stand_behind_the_tar),
		cmocka_unit_test(refuses_what_no_layer_may_say),
		cmocka_unit_test(memory_follows_the_tar),
		cmocka_unit_test(all_sizes_fit),
		cmocka_unit_test(the_order_of_members_does_not_show),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
