--- @include "open_job"
-- The jobs of a call: each is read once, and written once for all its events of one author.

local function read_job(jobs, head, author)
  local job, refusal = open_head(head, author)
  jobs[head] = job or { refusal = refusal, new = {} }
  return jobs[head]
end

local function write_job(head, job)
  if job.phase == 'closed' then write_head(head, job, 'status', job.status, 'phase', job.phase) else write_head(head, job) end
end

-- Return a job with the ids of this author.
local function job_of(jobs, head, author)
  local job = jobs[head]
  if job and (job.refusal or job.author == author) then return job end
  if job then write_job(head, job) end
  local again = read_job(jobs, head, author)
  if job and job.queue and again.phase then read_job_place(head, again) again.needing = job.needing end
  return again
end
