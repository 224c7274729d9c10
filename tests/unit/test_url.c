/* url tells whose an address is: where secrets may go hangs on it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "fetch/url.h"

static void finds_the_origin(void **state)
{
	static const struct {
		const char *url;
		int result;
		bool https;
		const char *host;
		uint16_t port;
	} cases[] = {
		{"https://Registry.Example/v2/", 0, true, "registry.example", 443},
		{"HTTP://registry.example:8080?x", 0, false, "registry.example", 8080},
		{"http://[::1]:5000/", 0, false, "::1", 5000},
		{"https://[fe80::1]", 0, true, "fe80::1", 443},
		{"https://a.example#@b.example", 0, true, "a.example", 443},
		{"https://a.example@b.example/", -EINVAL, false, NULL, 0},
		{"https://a.example\\@b.example/", -EINVAL, false, NULL, 0},
		{"https://user:pass@a.example/", -EINVAL, false, NULL, 0},
		{"https://a.example:0/", -EINVAL, false, NULL, 0},
		{"https://a.example:65536/", -EINVAL, false, NULL, 0},
		{"https://a.example:/", -EINVAL, false, NULL, 0},
		{"https://a.example:80a/", -EINVAL, false, NULL, 0},
		{"https://a.example/\r\nX: y", -EINVAL, false, NULL, 0},
		{"https://[::1/", -EINVAL, false, NULL, 0},
		{"https://[::1]x/", -EINVAL, false, NULL, 0},
		{"https:///path", -EINVAL, false, NULL, 0},
		{"file:///etc/passwd", -EINVAL, false, NULL, 0},
		{"//a.example/", -EINVAL, false, NULL, 0},
		{"", -EINVAL, false, NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct url_origin o;

		assert_int_equal(url_origin_parse(cases[i].url, &o), cases[i].result);
		if (cases[i].result < 0)
			continue;
		assert_int_equal(o.https, cases[i].https);
		assert_string_equal(o.host, cases[i].host);
		assert_int_equal(o.port, cases[i].port);
	}
}

static void another_scheme_host_or_port_is_another_origin(void **state)
{
	static const char *const others[] = {"http://a.example:443/", "https://a.example:444/",
					     "https://b.example/", "https://a.example.b/"};
	struct url_origin a, b;

	(void)state;
	assert_int_equal(url_origin_parse("https://a.example/x", &a), 0);
	assert_int_equal(url_origin_parse("https://A.EXAMPLE:443?y", &b), 0);
	assert_true(url_origin_equal(&a, &b));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		assert_int_equal(url_origin_parse(others[i], &b), 0);
		assert_false(url_origin_equal(&a, &b));
	}
}

static void knows_loopback(void **state)
{
	(void)state;
	assert_true(url_host_is_loopback("127.0.0.1"));
	assert_true(url_host_is_loopback("127.255.0.9"));
	assert_true(url_host_is_loopback("::1"));
	assert_true(url_host_is_loopback("LocalHost"));
	assert_false(url_host_is_loopback("127.0.0.1.example"));
	assert_false(url_host_is_loopback("localhost.example"));
	assert_false(url_host_is_loopback("128.0.0.1"));
	assert_false(url_host_is_loopback("0.0.0.0"));
	assert_false(url_host_is_loopback("::2"));
}

static void encodes_what_is_not_plain(void **state)
{
	struct bytes b = {0};

	(void)state;
	assert_int_equal(url_encode(&b, "repository:a/b:pull,push é&=%"), 0);
	assert_int_equal(bytes_terminate(&b), 0);
	assert_string_equal((char *)b.data, "repository%3Aa%2Fb%3Apull%2Cpush%20%C3%A9%26%3D%25");
	bytes_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_origin),
		cmocka_unit_test(another_scheme_host_or_port_is_another_origin),
		cmocka_unit_test(knows_loopback),
		cmocka_unit_test(encodes_what_is_not_plain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
