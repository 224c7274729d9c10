"""Pulls through two hosts that cut, delay, corrupt, refuse and redirect: every tree is right. bench/chaos is the long one."""
import shutil

import chaos
import kill9
from lab import Case

PULLS = 4


class Storm(Case):
    who = "root"  # mounts are read directly

    def test_every_tree_is_right(self):
        want, tally = chaos.image(self.lab), chaos.Tally()
        storm = chaos.Chaos(self.lab.registry.address, 7, slow=0.0)
        self.addCleanup(storm.close)
        for _ in range(PULLS):
            chaos.pull(self.lab, storm, storm.reference("chaos"), want, tally)
            self.lab.stop_server()
            shutil.rmtree(self.lab.store)
        for form in kill9.FORMATS:
            if form != "tar":
                lazy, want = chaos.lazy_image(self.lab, form)
                chaos.read_lazily(self.lab, f"{storm.front.address}/{lazy}", want, tally)
                self.lab.stop_server()
                shutil.rmtree(self.lab.store)
        self.assertEqual(tally.wrong, [])
        self.assertEqual(tally.pulls, PULLS + len(kill9.FORMATS) - 1)
        self.assertEqual(storm.leaks, [])
        for name, _ in chaos.FAULTS:
            self.assertGreater(storm.counts[name], 0, f"{name} was never thrown: another seed")
