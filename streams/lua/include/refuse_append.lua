--- @include "open_job"

-- Return the outcome of an append that an open job does not take, as append.lua tells it, or nil.
local function refuse_append(head, job, event_id, expected, epoch, holder, effect, payload)
  local outcome, phase = refuse_event(head, job, event_id, -2 - expected), job.phase
  if outcome then return outcome end
  local is_mine = phase == 'leased' and job.epoch == epoch and (holder == '' or holder == job.owner)
  if epoch > 0 and not is_mine then return { 'fenced', job.epoch } end
  if epoch <= 0 and phase ~= 'waiting' and phase ~= 'later' then
    local kind, closes = string.match(payload, '^{"type":"job%.([%a_]+)"'), effect ~= '' and effect ~= 'cancel'
    local needs_lease = kind ~= 'rewound' and kind ~= 'cancel_requested' and (phase == 'leased' or phase == 'released')
    if needs_lease or epoch < 0 or closes then return { 'leased', job.owner } end
  end
  local seq, entry = string.match(effect == 'cancel' and job.cancel or '', '^(%d+) (%S+)$')
  if seq then redis.call('HSET', head, 'cancel', job.cancel) return { 'duplicate', whole(seq), entry } end
  if expected >= 0 and job.seq ~= expected then return { 'conflict', job.seq } end
end
