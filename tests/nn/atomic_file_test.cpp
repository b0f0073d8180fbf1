#include "nn/atomic_file.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <vector>

#include "tests/file_helpers.h"

using namespace normtune;
using namespace normtune::testing;

namespace {

/// Lets one kind of call fail from its n-th occurrence on, and counts all of them.
class FailingCalls : public FileCalls {
 public:
  int write_error = 0, fsync_error = 0, rename_error = 0, close_error = 0, open_error = 0;
  int failing_fsync = 1;  // 1: of the file, 2: of the folder
  int failing_open = 1;
  int writes = 0, fsyncs = 0, renames = 0, opens = 0;
  size_t bytes_before_failure = 0;
  bool interrupt_once = false;
  bool short_writes = false;

  int open(const char* path, int flags, mode_t mode) override {
    if (++opens == failing_open && open_error != 0) return failed(open_error);
    return FileCalls::open(path, flags, mode);
  }
  ssize_t write(int descriptor, const void* bytes, size_t count) override {
    ++writes;
    if (interrupt_once) {
      interrupt_once = false;
      return failed(EINTR);
    }
    if (short_writes) return FileCalls::write(descriptor, bytes, count > 3 ? 3 : count);
    if (write_error == 0) return FileCalls::write(descriptor, bytes, count);
    if (bytes_before_failure == 0) return failed(write_error);
    const size_t part = std::min(count, bytes_before_failure);  // a disk that fills up
    bytes_before_failure -= part;
    return FileCalls::write(descriptor, bytes, part);
  }
  int fsync(int descriptor) override {
    if (++fsyncs == failing_fsync && fsync_error != 0) return failed(fsync_error);
    return FileCalls::fsync(descriptor);
  }
  int close(int descriptor) override {
    const int result = FileCalls::close(descriptor);
    return close_error != 0 ? failed(close_error) : result;
  }
  int rename(const char* from, const char* to) override {
    ++renames;
    return rename_error != 0 ? failed(rename_error) : FileCalls::rename(from, to);
  }

 private:
  static int failed(int error_number) {
    errno = error_number;
    return -1;
  }
};

/// A folder with the file "f", which holds "old".
struct OldFile {
  TemporaryFolder folder;
  std::filesystem::path path = folder / "f";
  OldFile() { write_bytes(path, "old"); }

  /// Nothing has changed and no temporary file is left.
  void check_untouched() const {
    BOOST_TEST(read_bytes(path) == "old");
    BOOST_TEST(!std::filesystem::exists(folder / "f.tmp"));
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(atomic_file)

BOOST_AUTO_TEST_CASE(commit_replaces_the_file) {
  const OldFile old;
  AtomicFile file(old.path);
  file.write("ne");
  file.write("w");
  BOOST_TEST(read_bytes(old.path) == "old");
  file.commit();
  BOOST_TEST(read_bytes(old.path) == "new");
  BOOST_TEST(!std::filesystem::exists(old.folder / "f.tmp"));
  BOOST_CHECK_THROW(file.commit(), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(without_commit_nothing_changes) {
  const OldFile old;
  {
    AtomicFile file(old.path);
    file.write("new");
  }
  old.check_untouched();
}

BOOST_AUTO_TEST_CASE(small_and_large_writes_keep_their_order) {
  const TemporaryFolder folder;
  std::string expected;
  AtomicFile file(folder / "f");
  for (size_t i = 0; i < 40; ++i) {
    const std::string part(i * i * 150, static_cast<char>('a' + i % 26));  // up to 228,150 bytes
    file.write(part);
    expected += part;
  }
  file.commit();
  BOOST_CHECK(read_bytes(folder / "f") == expected);
}

BOOST_AUTO_TEST_CASE(a_path_without_folder_means_the_current_one) {
  const TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  write_file_atomically("plain", "x");
  std::filesystem::current_path(before);
  BOOST_TEST(read_bytes(folder / "plain") == "x");
}

BOOST_AUTO_TEST_CASE(short_and_interrupted_writes_go_on) {
  const OldFile old;
  FailingCalls calls;
  calls.interrupt_once = true;
  calls.short_writes = true;
  const FileCallsGuard guard(calls);
  write_file_atomically(old.path, "0123456789");
  BOOST_TEST(read_bytes(old.path) == "0123456789");
}

BOOST_AUTO_TEST_CASE(a_full_disk_leaves_the_old_file) {
  for (const size_t bytes : {0, 1, 7}) {
    const OldFile old;
    FailingCalls calls;
    calls.write_error = ENOSPC;
    calls.bytes_before_failure = bytes;
    const FileCallsGuard guard(calls);
    check_error(ErrorKind::write,
                "cannot write " + old.path.string() + ": No space left on device (while writing",
                [&] { write_file_atomically(old.path, "0123456789"); });
    old.check_untouched();
  }
}

BOOST_AUTO_TEST_CASE(a_failed_fsync_is_not_tried_again) {
  const OldFile old;
  FailingCalls calls;
  calls.fsync_error = EIO;
  const FileCallsGuard guard(calls);
  check_error(ErrorKind::write, "Input/output error (while syncing",
              [&] { write_file_atomically(old.path, "new"); });
  BOOST_TEST(calls.fsyncs == 1);
  BOOST_TEST(calls.renames == 0);
  old.check_untouched();
}

BOOST_AUTO_TEST_CASE(close_and_rename_may_fail) {
  for (const bool in_close : {true, false}) {
    const OldFile old;
    FailingCalls calls;
    (in_close ? calls.close_error : calls.rename_error) = in_close ? EDQUOT : EACCES;
    const FileCallsGuard guard(calls);
    check_error(ErrorKind::write, in_close ? "(while closing" : "Permission denied (while renaming",
                [&] { write_file_atomically(old.path, "new"); });
    old.check_untouched();
  }
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_synced_is_told) {
  const OldFile old;
  FailingCalls calls;
  calls.fsync_error = EIO;
  calls.failing_fsync = 2;
  const FileCallsGuard guard(calls);
  check_error(ErrorKind::write, "(while syncing the folder of " + old.path.string(),
              [&] { write_file_atomically(old.path, "new"); });
  BOOST_TEST(read_bytes(old.path) == "new");  // the name is there, only not yet safe
  BOOST_TEST(calls.fsyncs == 2);

  FailingCalls cannot_open;
  cannot_open.open_error = EACCES;
  cannot_open.failing_open = 2;
  const FileCallsGuard inner(cannot_open);
  check_error(ErrorKind::write, "(while syncing the folder of",
              [&] { write_file_atomically(old.path, "new"); });
}

BOOST_AUTO_TEST_CASE(a_file_system_without_folder_sync_is_accepted) {
  const OldFile old;
  FailingCalls calls;
  calls.fsync_error = EINVAL;
  calls.failing_fsync = 2;
  const FileCallsGuard guard(calls);
  write_file_atomically(old.path, "new");
  BOOST_TEST(read_bytes(old.path) == "new");
}

BOOST_AUTO_TEST_CASE(real_mistakes_name_path_and_reason) {
  const TemporaryFolder folder;
  check_error(ErrorKind::write, "missing/f: No such file or directory (while opening",
              [&] { write_file_atomically(folder / "missing/f", "x"); });
  std::filesystem::create_directory(folder / "taken");
  check_error(ErrorKind::write, "taken: Is a directory",
              [&] { write_file_atomically(folder / "taken", "x"); });
  write_bytes(folder / "file", "x");
  check_error(ErrorKind::write, "file/f: Not a directory",
              [&] { write_file_atomically(folder / "file/f", "x"); });
}

BOOST_AUTO_TEST_CASE(devices_and_pipes_are_not_replaced) {
  const TemporaryFolder folder;
  const std::filesystem::path pipe = folder / "pipe";
  BOOST_REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  std::filesystem::create_symlink(pipe, folder / "link");  // as /dev/stdout is
  for (const char* name : {"pipe", "link"}) {
    check_error(ErrorKind::write, std::string(name) + ": found a device, pipe or socket",
                [&] { write_file_atomically(folder / name, "x"); });
    BOOST_TEST(std::filesystem::is_fifo(folder / name));
  }
  BOOST_CHECK_NO_THROW(require_replaceable(folder / "new"));
}

BOOST_AUTO_TEST_CASE(killed_at_any_moment_the_file_is_old_or_new) {
  const TemporaryFolder folder;
  const std::vector<std::string> contents{std::string(300'000, 'a'), std::string(200'000, 'b')};
  write_bytes(folder / "f", contents[0]);
  for (int round = 0; round < 20; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (size_t i = 0;; ++i) write_file_atomically(folder / "f", contents[i % 2]);
    }
    BOOST_REQUIRE(child > 0);
    ::usleep(static_cast<useconds_t>(500 + 700 * round));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const std::string found = read_bytes(folder / "f");
    BOOST_TEST((found == contents[0] || found == contents[1]), "half-written after round " << round);
  }
}

BOOST_AUTO_TEST_SUITE_END()
