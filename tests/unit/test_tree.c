/* tree: several layers look like one tree, the same from whichever side it is entered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/report.h" /* before cmocka, which has a macro fail() */

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "format/erofs_format.h"
#include "format/tree.h"
#include "tests/unit/layer_fixture.h"

#define N_LAYERS 3

struct image {
	struct fixture layers[N_LAYERS];
	struct tree tree;
};

static void put_layers(struct image *i, const struct tar_member *const *layers, size_t n)
{
	const struct erofs_read *reads[N_LAYERS];

	*i = (struct image){0};
	for (size_t k = 0; k < n; k++) {
		assert_int_equal(fixture_build(layers[k], &i->layers[k]), 0);
		reads[k] = &i->layers[k].read;
	}
	tree_init(&i->tree, reads, n);
}

static void drop_layers(struct image *i)
{
	for (size_t k = 0; k < N_LAYERS; k++)
		fixture_free(&i->layers[k]);
}

static const struct tar_member bottom[] = {
	DIR_AT("etc", 0750), FILE_AT("etc/passwd", 512, 1), FILE_AT("etc/shadow", 512, 2), FILE_AT("etc/deep/low", 512, 3),
	DIR_AT("opq", 0755), EMPTY("opq/below"), DIR_AT("dir_then_file", 0755), EMPTY("dir_then_file/x"),
	EMPTY("file_then_dir"), DIR_AT("gone", 0755), EMPTY("gone/x"), EMPTY("zz"),
	SYMLINK("bin", "usr/bin"), FILE_AT("usr/bin/sh", 512, 8), SYMLINK("usr/bin/up", "../../etc/passwd"),
	SYMLINK("abs", "/etc/deep"), SYMLINK("loop", "loop"), SYMLINK("out", "../../../zz"),
	SYMLINK("slash", "bin/"), {0},
};
static const struct tar_member middle[] = {
	FILE_AT("etc/passwd", 512, 11), EMPTY("etc/.wh.shadow"), EMPTY("opq/.wh..wh..opq"), EMPTY("opq/above"),
	EMPTY("dir_then_file"), EMPTY("file_then_dir/y"), EMPTY(".wh.gone"), {0},
};
static const struct tar_member top[] = {
	FILE_AT("etc/deep/high", 512, 21), DIR_AT("gone", 0700), EMPTY("gone/new"), DIR_AT("etc/only_top", 0755), {0},
};
static const struct tar_member *const three[] = {bottom, middle, top};

static int look(const struct image *i, const char *path, struct tree_node *ret)
{
	return tree_resolve(&i->tree, path, false, ret, NULL);
}

static void layers_are_merged_name_by_name(void **state)
{
	struct tree_node n;
	struct image i;

	(void)state;
	put_layers(&i, three, 3);
	assert_int_equal(look(&i, "/etc", &n), 0);
	assert_int_equal(n.inode.mode, S_IFDIR | 0750); /* the two above name it only by the way */
	assert_int_equal(n.position, 0);
	assert_int_equal(n.top_position, 2);
	assert_int_equal(n.inode.nlink, 1);
	assert_int_equal(look(&i, "etc/passwd", &n), 0);
	assert_int_equal(n.inode.size, 11);
	assert_int_equal(n.position, 1);
	assert_int_equal(look(&i, "etc/shadow", &n), -ENOENT);
	assert_int_equal(look(&i, "etc/deep/low", &n), 0);
	assert_int_equal(look(&i, "etc/deep/high", &n), 0);
	assert_int_equal(look(&i, "opq/above", &n), 0);
	assert_int_equal(look(&i, "opq/below", &n), -ENOENT);
	assert_int_equal(look(&i, "dir_then_file", &n), 0);
	assert_true(S_ISREG(n.inode.mode));
	assert_int_equal(look(&i, "dir_then_file/x", &n), -ENOTDIR);
	assert_int_equal(look(&i, "file_then_dir/y", &n), 0);
	assert_int_equal(look(&i, "gone/x", &n), -ENOENT);
	assert_int_equal(look(&i, "gone/new", &n), 0);
	drop_layers(&i);
}

static void symlinks_stay_inside(void **state)
{
	static const struct {
		const char *path;
		bool follow;
		int result;
		uint64_t size; /* of a file */
	} cases[] = {
		{"bin/sh", false, 0, 8},	  {"bin/up", true, 0, 11},
		{"bin/up", false, 0, 16},	  {"bin/up/", false, -ENOTDIR, 0},
		{"bin/up/x", false, -ENOTDIR, 0}, {"abs/low", false, 0, 3},
		{"loop", true, -ELOOP, 0},	  {"loop", false, 0, 4},
		{"loop/x", false, -ELOOP, 0},	  {"out", true, 0, 0},
		{"../../zz", true, 0, 0},	  {"bin/../../etc/passwd", true, 0, 11},
		{"slash/sh", true, 0, 8},	  {"//etc//./passwd", true, 0, 11},
		{"etc/passwd/", true, -ENOTDIR, 0}, {"etc/passwd/.", true, -ENOTDIR, 0},
		{"", true, -ENOENT, 0},		  {"nothing/x", true, -ENOENT, 0},
	};
	struct tree_node n;
	struct tree_dir d;
	struct image i;

	(void)state;
	put_layers(&i, three, 3);
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		int r = tree_resolve(&i.tree, cases[k].path, cases[k].follow, &n, &d);

		if (r != cases[k].result || (r == 0 && n.inode.size != cases[k].size))
			fail_msg("%s: %d", cases[k].path, r);
	}
	assert_int_equal(tree_resolve(&i.tree, "bin/", false, &n, &d), 0);
	assert_true(S_ISDIR(n.inode.mode) && d.n_parts == 1);
	assert_int_equal(tree_resolve(&i.tree, "slash", true, &n, &d), 0);
	assert_int_equal(tree_resolve(&i.tree, "/", false, &n, &d), 0);
	assert_int_equal(d.n_parts, 3);
	drop_layers(&i);
}

/* Each entry behind the cookie of the one before. */
static void list(const struct image *i, const struct tree_dir *dir, char *out, size_t size)
{
	struct tree_list from;
	struct tree_entry e;
	uint64_t cookie = 0;
	int r;

	*out = '\0';
	while ((r = tree_list_begin(&i->tree, dir, cookie, &from)) == 0 && (r = tree_list_next(&from, &e)) == 1) {
		size_t used = strlen(out);

		snprintf(out + used, size - used, "%.*s ", (int)e.name_size, e.name);
		cookie = e.cookie;
		assert_true(cookie > 0 && cookie < UINT64_C(1) << 63);
	}
	assert_int_equal(r, 0);
}

/* LIMIT_SYMLINKS: link N leads to link N - 1, link 1 to a directory */
static void as_many_symlinks_as_the_kernel_follows(void **state)
{
	static char names[LIMIT_SYMLINKS + 2][8];
	struct tar_member chain[LIMIT_SYMLINKS + 3] = {DIR_AT("0", 0755)};
	const struct tar_member *const one[] = {chain};
	struct tree_node n;
	struct image i;

	(void)state;
	snprintf(names[0], sizeof(names[0]), "0");
	for (unsigned int k = 1; k <= LIMIT_SYMLINKS + 1; k++) {
		snprintf(names[k], sizeof(names[k]), "%u", k);
		chain[k] = (struct tar_member)SYMLINK(names[k], names[k - 1]);
	}
	put_layers(&i, one, 1);
	for (int above = -1; above <= 1; above++)
		assert_int_equal(tree_resolve(&i.tree, names[(int)LIMIT_SYMLINKS + above], true, &n, NULL), above > 0 ? -ELOOP : 0);
	drop_layers(&i);
}

static void listing_shows_each_name_once(void **state)
{
	/* What a user may seek to. */
	static const uint64_t places_of_none[] = {UINT64_C(3) << 32, UINT64_C(1) << 32, UINT64_C(1) << 60 | 1, UINT32_MAX};
	struct tree_list none;
	struct tree_entry e;
	struct tree_node n;
	struct tree_dir d;
	struct image i;
	char text[256];

	(void)state;
	put_layers(&i, three, 3);
	assert_int_equal(tree_resolve(&i.tree, "etc", false, &n, &d), 0);
	list(&i, &d, text, sizeof(text));
	assert_string_equal(text, "deep only_top passwd ");
	for (size_t k = 0; k < sizeof(places_of_none) / sizeof(places_of_none[0]); k++) {
		assert_int_equal(tree_list_begin(&i.tree, &d, places_of_none[k], &none), 0);
		assert_int_equal(tree_list_next(&none, &e), 0);
	}
	assert_int_equal(tree_resolve(&i.tree, "opq", false, &n, &d), 0);
	list(&i, &d, text, sizeof(text));
	assert_string_equal(text, "above ");
	assert_int_equal(tree_root(&i.tree, &d, &n), 0);
	list(&i, &d, text, sizeof(text));
	assert_string_equal(text, "abs bin dir_then_file etc file_then_dir gone loop opq out slash usr zz ");
	drop_layers(&i);
}

/* Every entry of every directory is found by name, and every directory again by its number. */
static void check_dir(const struct image *i, const struct tree_dir *dir, const struct tree_node *dir_node, int depth)
{
	struct tree_list list;
	struct tree_entry e;

	assert_int_equal(tree_list_begin(&i->tree, dir, 0, &list), 0);
	while (tree_list_next(&list, &e) == 1) {
		struct tree_node node, again_node, bare_node;
		struct tree_dir child, again;

		assert_int_equal(tree_lookup(&i->tree, dir, e.name, e.name_size, &node, &child), 0);
		assert_int_equal(tree_lookup(&i->tree, dir, e.name, e.name_size, &bare_node, NULL), 0);
		assert_int_equal(bare_node.inode.nid, node.inode.nid);
		assert_int_equal(bare_node.position, node.position);
		if (!S_ISDIR(node.inode.mode)) {
			assert_int_equal(e.nid, node.inode.nid);
			continue;
		}
		assert_int_equal(e.type, DT_DIR);
		assert_true(e.nid == node.top_nid && e.position == node.top_position);
		assert_int_equal(tree_dir_again(&i->tree, e.position, e.nid, &again_node, &again), 0);
		assert_int_equal(again.n_parts, child.n_parts);
		assert_memory_equal(again.parts, child.parts, child.n_parts * sizeof(child.parts[0]));
		assert_int_equal(again_node.inode.nid, node.inode.nid);
		assert_int_equal(tree_parent(&i->tree, &child, &again_node, &again), 0);
		assert_true(again_node.top_nid == dir_node->top_nid && again.n_parts == dir->n_parts);
		check_dir(i, &child, &node, depth + 1);
	}
	assert_true(depth < 10);
}

static void every_directory_is_found_again(void **state)
{
	struct tree_node n;
	struct tree_dir d;
	struct image i;

	(void)state;
	put_layers(&i, three, 3);
	assert_int_equal(tree_root(&i.tree, &d, &n), 0);
	check_dir(&i, &d, &n, 0);
	assert_int_equal(tree_parent(&i.tree, &d, &n, &d), 0);
	assert_int_equal(n.top_nid, i.layers[2].read.root_nid);
	/* Numbers that belong to no directory of the merged tree. */
	assert_int_equal(tree_dir_again(&i.tree, 3, 40, &n, &d), -ENOENT);
	assert_int_equal(tree_dir_again(&i.tree, 0, i.layers[0].read.root_nid, &n, &d), -ENOENT);
	assert_true(tree_dir_again(&i.tree, 0, UINT32_MAX, &n, &d) < 0);
	for (uint32_t nid = 0; nid < i.layers[1].size / 32; nid++)
		(void)tree_dir_again(&i.tree, 1, nid, &n, &d);
	drop_layers(&i);
}

static void an_opaque_root_hides_all_layers_below(void **state)
{
	static const struct tar_member opaque[] = {EMPTY(".wh..wh..opq"), EMPTY("a"), {0}};
	static const struct tar_member *const two[] = {bottom, opaque};
	struct tree_node n;
	struct image i;

	(void)state;
	put_layers(&i, two, 2);
	assert_null(i.tree.layers[0]);
	assert_int_equal(look(&i, "a", &n), 0);
	assert_int_equal(look(&i, "etc", &n), -ENOENT);
	drop_layers(&i);
}

static void a_repeated_layer_counts_once(void **state)
{
	struct tree_node n;
	struct image i;
	struct tree t;

	(void)state;
	put_layers(&i, three, 3);
	tree_init(&t, (const struct erofs_read *const[]){&i.layers[1].read, &i.layers[0].read, &i.layers[1].read}, 3);
	assert_null(t.layers[0]);
	assert_non_null(t.layers[2]);
	assert_int_equal(tree_resolve(&t, "etc/passwd", false, &n, NULL), 0);
	assert_int_equal(n.position, 2);
	drop_layers(&i);
}

static void an_image_without_layers_is_not_a_tree(void **state)
{
	struct tree t;
	struct tree_node n;
	struct tree_dir d;

	(void)state;
	tree_init(&t, NULL, 0);
	assert_int_equal(tree_root(&t, &d, &n), -ENOENT);
	assert_int_equal(tree_resolve(&t, "/", false, &n, &d), -ENOENT);
}

/* The index says that "b" is what "a/sub" is: a directory with two parents. */
static void a_directory_with_two_parents_is_found_out(void **state)
{
	static const struct tar_member members[] = {DIR_AT("a/sub", 0755), DIR_AT("b", 0755), {0}};
	static const struct tar_member *const one[] = {members};
	struct erofs_inode sub, root;
	struct erofs_disk_dirent d;
	struct tree_node n;
	struct image i;
	uint8_t *at;
	uint64_t cookie;

	(void)state;
	put_layers(&i, one, 1);
	assert_int_equal(fixture_find(&i.layers[0], "a/sub", &sub), 0);
	assert_int_equal(fixture_find(&i.layers[0], "", &root), 0);
	assert_int_equal(erofs_read_seek(&i.layers[0].read, &root, "b", 1, &cookie), 0);
	at = (uint8_t *)i.layers[0].data + EROFS_FIRST_INODE_OFF + offsetof(struct erofs_disk_inode, u);
	at = (uint8_t *)i.layers[0].data + (at[0] | at[1] << 8) * EROFS_BLOCK + cookie * sizeof(d);
	memcpy(&d, at, sizeof(d));
	d.nid = sub.nid;
	memcpy(at, &d, sizeof(d));
	assert_int_equal(look(&i, "a/sub", &n), 0);
	assert_int_equal(look(&i, "b", &n), -EBADMSG);
	drop_layers(&i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layers_are_merged_name_by_name),
		cmocka_unit_test(symlinks_stay_inside),
		cmocka_unit_test(as_many_symlinks_as_the_kernel_follows),
		cmocka_unit_test(listing_shows_each_name_once),
		cmocka_unit_test(every_directory_is_found_again),
		cmocka_unit_test(an_opaque_root_hides_all_layers_below),
		cmocka_unit_test(a_repeated_layer_counts_once),
		cmocka_unit_test(an_image_without_layers_is_not_a_tree),
		cmocka_unit_test(a_directory_with_two_parents_is_found_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
