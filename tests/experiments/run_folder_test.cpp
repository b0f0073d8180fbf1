#include "experiments/run_folder.h"

#include <unistd.h>

#include <boost/test/unit_test.hpp>

#include "experiments/atomic_folder.h"
#include "experiments/checkpoint_folder.h"
#include "tests/experiments/fixtures.h"

namespace normtune {

using fixtures::check_error_parts;
using fixtures::content_of;
using fixtures::TemporaryFolder;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(run_folder)

BOOST_AUTO_TEST_CASE(one_lock_at_a_time) {
  const TemporaryFolder folder;
  const fs::path run = folder / "a" / "run";
  {
    const FolderLock lock(run);
    check_error_parts(ErrorKind::write, {run.string(), fmt::format("process {}", ::getpid())},
                      [&] { const FolderLock second(run); });
  }
  const FolderLock again(run);
  BOOST_CHECK(is_empty_run_folder(run));
}

BOOST_AUTO_TEST_CASE(a_folder_made_for_nothing_goes) {
  const TemporaryFolder folder;
  { const FolderLock lock(folder / "empty"); }
  BOOST_CHECK(!fs::exists(folder / "empty"));
  {
    const FolderLock lock(folder / "used");
    folder.write("used/config.json", "{}");
  }
  BOOST_CHECK(fs::exists(folder / "used/config.json"));
  fs::create_directory(folder / "mine");
  { const FolderLock lock(folder / "mine"); }
  BOOST_CHECK(fs::exists(folder / "mine"));
}

BOOST_AUTO_TEST_CASE(what_a_failed_pretraining_began_with_is_no_run) {
  const TemporaryFolder folder;
  folder.write("run/initial/vocab.txt", "x");
  BOOST_CHECK(is_empty_run_folder(folder / "run"));
  folder.write("run/other", "x");
  BOOST_CHECK(!is_empty_run_folder(folder / "run"));
}

BOOST_AUTO_TEST_CASE(a_file_cannot_be_a_run) {
  const TemporaryFolder folder;
  const fs::path file = folder.write("file", "");
  check_error_parts(ErrorKind::write, {"is a file"}, [&] { const FolderLock lock(file); });
  check_error_parts(ErrorKind::write, {file.string()}, [&] { const FolderLock lock(file / "run"); });
}

BOOST_AUTO_TEST_CASE(removes_what_a_run_writes_and_nothing_else) {
  const TemporaryFolder folder;
  for (const char* name :
       {"model.safetensors", "config.json", "metrics.jsonl", "events.out.tfevents.1.host.2.0",
        "checkpoint-10/model.safetensors", "checkpoint-10.tmp/x", "best/config.json",
        "adapterhub/adapter_config.json", "model.safetensors.tmp"}) {
    folder.write(std::string("run/") + name, "x");
  }
  const std::vector<std::string> kept = {"notes.txt", "checkpoint-mine", "checkpoint-1x", "models/a.bin"};
  for (const std::string& name : kept) folder.write("run/" + name, "x");
  BOOST_CHECK(!is_empty_run_folder(folder / "run"));
  remove_temporary_run_files(folder / "run");
  BOOST_CHECK(!fs::exists(folder / "run/checkpoint-10.tmp"));
  BOOST_CHECK(fs::exists(folder / "run/checkpoint-10"));
  remove_run_files(folder / "run");
  std::vector<std::string> left;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder / "run")) {
    left.push_back(entry.path().filename().string());
  }
  BOOST_CHECK_EQUAL(left.size(), kept.size());
  for (const std::string& name : kept) BOOST_CHECK(fs::exists(folder / "run" / name));
}

BOOST_AUTO_TEST_CASE(an_atomic_folder_appears_whole_or_not_at_all) {
  const TemporaryFolder folder;
  const fs::path path = folder / "folder";
  folder.write("folder.tmp/left-by-a-kill", "x");
  {
    const AtomicFolder abandoned(path);
    std::ofstream(abandoned.temporary() / "a") << "1";
  }
  BOOST_CHECK(!fs::exists(path) && !fs::exists(path.string() + ".tmp"));
  for (const std::string content : {"1", "2"}) {  // the second one replaces the first
    AtomicFolder written(path);
    BOOST_CHECK(!fs::exists(written.temporary() / "left-by-a-kill"));
    std::ofstream(written.temporary() / content) << content;
    written.commit();
  }
  BOOST_CHECK_EQUAL(content_of(path / "2"), "2");
  BOOST_CHECK(!fs::exists(path / "1") && !fs::exists(path.string() + ".tmp"));
  check_error_parts(ErrorKind::write, {}, [&] { const AtomicFolder impossible(path / "2" / "x"); });
}

BOOST_AUTO_TEST_CASE(names_of_checkpoints) {
  BOOST_CHECK(checkpoint_step("checkpoint-12") == 12);
  BOOST_CHECK(checkpoint_step("checkpoint-0") == 0);
  for (const char* name : {"checkpoint-", "checkpoint-1x", "checkpoint--1", "checkpoint-1.tmp",
                           "checkpoints-1", "checkpoint-99999999999999999999"}) {
    BOOST_CHECK_MESSAGE(!checkpoint_step(name), name);
  }
}

BOOST_AUTO_TEST_CASE(old_and_later_checkpoints) {
  const TemporaryFolder folder;
  for (const int64_t step : {9, 10, 100, 20}) folder.write(fmt::format("checkpoint-{}/x", step), "x");
  BOOST_CHECK((checkpoint_steps(folder.path()) == std::vector<int64_t>{9, 10, 20, 100}));
  remove_old_checkpoints(folder.path(), 0);
  BOOST_CHECK_EQUAL(checkpoint_steps(folder.path()).size(), 4);
  remove_later_checkpoints(folder.path(), 20);
  BOOST_CHECK((checkpoint_steps(folder.path()) == std::vector<int64_t>{9, 10, 20}));
  remove_old_checkpoints(folder.path(), 2);
  BOOST_CHECK((checkpoint_steps(folder.path()) == std::vector<int64_t>{10, 20}));
  BOOST_CHECK(checkpoint_steps(folder / "nowhere").empty());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
